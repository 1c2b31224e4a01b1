//! What the store has, held against what the journal says it must have.

use super::{
    deliveries::Key,
    effects::{Effects, Kind},
    journal::Journal,
};
use catga::{
    MessageId,
    sqlite::rusqlite::{Connection, OptionalExtension, Result, Row},
};
use catga_testkit::{Claim, Demands, End, History, Op};

/// What was found of one kind of effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    /// Rows that must be there.
    pub(crate) expected: u64,
    /// Rows that are there.
    pub(crate) found: u64,
    /// Rows that must be there and are not.
    pub(crate) lost: u64,
    /// Rows beyond those of an order that stands.
    pub(crate) doubled: u64,
    /// Rows of orders that nobody was told to stand.
    pub(crate) phantom: u64,
    /// Orders that have as many rows as they must, with other contents.
    pub(crate) altered: u64,
}

impl std::ops::Add for Count {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self {
            expected: self.expected + other.expected,
            found: self.found + other.found,
            lost: self.lost + other.lost,
            doubled: self.doubled + other.doubled,
            phantom: self.phantom + other.phantom,
            altered: self.altered + other.altered,
        }
    }
}

/// What the checker found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// By kind, in the order of [`Kind::ALL`].
    pub(crate) by_kind: [Count; Kind::ALL.len()],
    /// Messages that have not left.
    pub(crate) in_outbox: u64,
    /// Deliveries that are not settled.
    pub(crate) in_queue: u64,
    /// Dead letters.
    pub(crate) letters: u64,
    /// Orders of unknown end that have the effects of some consumers and not of others.
    pub(crate) torn: u64,
}

impl Findings {
    /// All kinds together.
    pub(crate) fn total(&self) -> Count {
        self.by_kind.into_iter().fold(Count::default(), |sum, count| sum + count)
    }
}

/// Counts and compares everything in the store.
pub(crate) fn check(db: &Connection, journal: &Journal) -> Result<Findings> {
    let rows = |table: &str| db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, u64>(0));
    let found = found(db, journal)?;
    Ok(Findings {
        by_kind: count(journal, &found),
        torn: torn(journal, &found.by_order),
        in_outbox: rows("catga_outbox")?,
        in_queue: rows("catga_queue")?,
        letters: rows("catga_letter")?,
    })
}

/// How many of these deliveries have not committed.
pub(crate) fn uncommitted(db: &Connection, deliveries: &[Key]) -> Result<u64> {
    let mut mark = db.prepare(
        "SELECT 1 FROM catga_inbox JOIN catga_consumer ON catga_consumer.id = catga_inbox.consumer
         WHERE catga_consumer.name = ?1 AND catga_inbox.id = ?2",
    )?;
    let mut missing = 0;
    for Key { consumer, id } in deliveries {
        let marked = mark.query_row((consumer, id.to_bytes()), |_| Ok(())).optional()?;
        missing += u64::from(marked.is_none());
    }
    Ok(missing)
}

/// What the store has.
struct Found {
    /// Order by order, by the journal's places.
    by_order: Vec<Effects>,
    /// Rows, and those of orders that are not in the journal.
    counts: [Count; Kind::ALL.len()],
}

/// Reads the effects of all orders.
fn found(db: &Connection, journal: &Journal) -> Result<Found> {
    let mut by_order = vec![Effects::default(); usize::try_from(journal.issued()).unwrap_or(usize::MAX)];
    let mut counts = [Count::default(); Kind::ALL.len()];
    for (kind, count) in Kind::ALL.into_iter().zip(&mut counts) {
        read(db, kind, |order, row| {
            count.found += 1;
            match journal.place(order) {
                Some(place) => add(&mut by_order[place], kind, row)?,
                None => count.phantom += 1,
            }
            Ok(())
        })?;
    }
    Ok(Found { by_order, counts })
}

/// The kinds that have one row an order, by the name of who writes it.
const WRITERS: [(Kind, &str); 3] = [(Kind::Order, "place"), (Kind::Invoice, "billing"), (Kind::Mail, "mail")];
/// Orders of one history, so that it stays small however many there are.
const HISTORY: usize = 10_000;

/// Counts orders of unknown end that are neither there nor gone as a whole, by the checker of histories: each order is a
/// message that was committed, or not, or nobody knows, and has an effect with each of [`WRITERS`].
fn torn(journal: &Journal, found: &[Effects]) -> u64 {
    let demands = Demands::new(&WRITERS.map(|(_, writer)| writer));
    let orders: Vec<_> = journal.expected().zip(found).collect();
    let torn = |orders: &[(Option<Effects>, &Effects)]| {
        let history = History::new();
        let record = |op, claim, outcome| history.end(history.start(), op, claim, outcome);
        for (number, (expected, found)) in (1..).zip(orders) {
            let order = Claim::of(MessageId(number));
            let outcome = match expected {
                None => End::Unknown,
                Some(expected) if expected.tally(Kind::Order).rows > 0 => End::Ok,
                Some(_) => End::Fail,
            };
            record(Op::Commit, order.clone(), outcome);
            for (_, writer) in WRITERS.iter().filter(|(kind, _)| found.tally(*kind).rows > 0) {
                record(Op::Effect, order.clone().by(writer), End::Ok);
            }
        }
        // What else it finds is counted row by row, and with contents, elsewhere.
        history.verdict(&demands).map_or_else(|faults| faults.torn.len() as u64, |_| 0)
    };
    orders.chunks(HISTORY).map(torn).sum()
}

/// Counts the effects order by order.
fn count(journal: &Journal, found: &Found) -> [Count; Kind::ALL.len()] {
    let mut counts = found.counts;
    for (expected, found) in journal.expected().zip(&found.by_order) {
        // Of an order that nobody knows about, nothing can be said.
        let Some(expected) = expected else { continue };
        for (kind, count) in Kind::ALL.into_iter().zip(&mut counts) {
            let (expected, found) = (expected.tally(kind), found.tally(kind));
            let extra = u64::from(found.rows.saturating_sub(expected.rows));
            count.expected += u64::from(expected.rows);
            count.lost += u64::from(expected.rows.saturating_sub(found.rows));
            match expected.rows {
                0 => count.phantom += extra,
                _ => count.doubled += extra,
            }
            count.altered += u64::from(expected.rows == found.rows && expected.sum != found.sum);
        }
    }
    counts
}

/// Reads all rows of a kind; the first column is the order's id.
fn read(db: &Connection, kind: Kind, mut take: impl FnMut(&str, &Row<'_>) -> Result<()>) -> Result<()> {
    let mut select = db.prepare(match kind {
        Kind::Order => "SELECT id, customer, total_cents FROM orders",
        Kind::Item => "SELECT order_id, line, sku, qty, price_cents FROM order_items",
        Kind::Invoice => "SELECT order_id, customer, amount_cents FROM invoices",
        Kind::Move => "SELECT order_id, sku, qty FROM stock_moves",
        Kind::Mail => "SELECT order_id, customer, amount_cents FROM mails",
    })?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        take(row.get_ref(0)?.as_str()?, row)?;
    }
    Ok(())
}

/// Adds a row, with its contents in the types that [`Effects::of`] gives them.
fn add(effects: &mut Effects, kind: Kind, row: &Row<'_>) -> Result<()> {
    let text = |column| Ok::<_, catga::sqlite::rusqlite::Error>(row.get_ref(column)?.as_str()?);
    let number = |column| row.get::<_, i64>(column);
    match kind {
        Kind::Order | Kind::Invoice | Kind::Mail => effects.add(kind, (text(1)?, number(2)?)),
        Kind::Item => effects.add(kind, (number(1)?, text(2)?, number(3)?, number(4)?)),
        Kind::Move => effects.add(kind, (text(1)?, number(2)?)),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::{
        generate::Generator,
        journal::{Admission, Ticket},
    };
    use catga_order_system::{MIGRATIONS, PlaceOrder, total_cents};

    /// A store that somebody wrote by hand, with the effects of `orders` in it, and a journal that knows them as ok.
    fn store(orders: &[PlaceOrder]) -> (Connection, Journal, Vec<Ticket>) {
        let db = Connection::open_in_memory().unwrap();
        MIGRATIONS.iter().for_each(|sql| db.execute_batch(sql).unwrap());
        let mut journal = Journal::default();
        let mut tickets = Vec::new();
        for (line, order) in (1..).zip(orders) {
            let Admission::New(ticket) = journal.admit(order, line) else { panic!("it is new") };
            journal.ok(ticket, false);
            tickets.push(ticket);
            let row = (&order.id, &order.customer, total_cents(&order.items));
            for table in ["orders", "invoices", "mails"] {
                db.execute(&format!("INSERT INTO {table} VALUES (?1, ?2, ?3)"), row).unwrap();
            }
            for (line, item) in (1..).zip(&order.items) {
                let row = (&order.id, line, &item.sku, item.qty, item.price_cents);
                db.execute("INSERT INTO order_items VALUES (?1, ?2, ?3, ?4, ?5)", row).unwrap();
                let row = (&order.id, &item.sku, -i64::from(item.qty));
                db.execute("INSERT INTO stock_moves VALUES (?1, ?2, ?3)", row).unwrap();
            }
        }
        (db, journal, tickets)
    }

    fn orders() -> Vec<PlaceOrder> {
        Generator::new(1).take(20).collect()
    }

    fn total(db: &Connection, journal: &Journal) -> Count {
        count(journal, &found(db, journal).unwrap()).into_iter().fold(Count::default(), |sum, count| sum + count)
    }

    #[test]
    fn a_store_that_has_what_it_must_is_found_so() {
        let (db, journal, _) = store(&orders());
        let items: usize = orders().iter().map(|order| order.items.len()).sum();
        let expected = (20 * 3 + items * 2) as u64;
        assert_eq!(total(&db, &journal), Count { expected, found: expected, ..Count::default() });
    }

    #[test]
    fn a_lost_effect_is_found_wherever_it_was() {
        for (table, id) in
            [("orders", "id"), ("order_items", "order_id"), ("invoices", "order_id"), ("stock_moves", "order_id")]
        {
            let (db, journal, _) = store(&orders());
            let sql = format!("DELETE FROM {table} WHERE rowid IN (SELECT max(rowid) FROM {table} WHERE {id} = 'o-7')");
            assert_eq!(db.execute(&sql, []).unwrap(), 1);
            let Count { expected, found, lost, doubled, phantom, altered } = total(&db, &journal);
            assert_eq!((expected - found, lost, doubled, phantom, altered), (1, 1, 0, 0, 0), "{table}");
        }
    }

    #[test]
    fn a_doubled_effect_is_found_beside_a_lost_one() {
        let (db, journal, _) = store(&orders());
        db.execute("INSERT INTO mails SELECT * FROM mails WHERE order_id = 'o-3'", []).unwrap();
        db.execute("DELETE FROM mails WHERE order_id = 'o-4'", []).unwrap();
        let Count { expected, found, lost, doubled, phantom, altered } = total(&db, &journal);
        assert_eq!((expected, lost, doubled, phantom, altered), (found, 1, 1, 0, 0));
    }

    #[test]
    fn effects_of_orders_that_nobody_was_told_to_stand_are_phantoms() {
        let (db, mut journal, _) = store(&orders());
        db.execute("INSERT INTO invoices VALUES ('o-99', 'c-1', 100)", []).unwrap();
        let failed = Generator::new(1).nth(20).unwrap();
        journal.admit(&failed, 21);
        journal.fail();
        db.execute("INSERT INTO mails VALUES (?1, 'c-1', 100)", [&failed.id]).unwrap();
        let Count { lost, doubled, phantom, .. } = total(&db, &journal);
        assert_eq!((lost, doubled, phantom), (0, 0, 2));
    }

    #[test]
    fn of_an_order_of_unknown_end_nothing_is_said() {
        let (db, mut journal, _) = store(&orders());
        let unknown = Generator::new(1).nth(20).unwrap();
        let Admission::New(ticket) = journal.admit(&unknown, 21) else { panic!("it is new") };
        journal.unknown(ticket);
        db.execute("INSERT INTO orders VALUES (?1, 'c-1', 100)", [&unknown.id]).unwrap();
        let Count { expected, found, lost, doubled, phantom, altered } = total(&db, &journal);
        assert_eq!((found - expected, lost, doubled, phantom, altered), (1, 0, 0, 0, 0));
        // But that it has an effect with one and none with the others.
        let torn = |db: &Connection| torn(&journal, &super::found(db, &journal).unwrap().by_order);
        assert_eq!(torn(&db), 1);
        for table in ["invoices", "mails"] {
            db.execute(&format!("INSERT INTO {table} VALUES (?1, 'c-1', 100)"), [&unknown.id]).unwrap();
        }
        assert_eq!(torn(&db), 0);
    }

    #[test]
    fn other_contents_are_found() {
        for sql in [
            "UPDATE invoices SET amount_cents = amount_cents + 1 WHERE order_id = 'o-3'",
            "UPDATE stock_moves SET qty = -qty WHERE order_id = 'o-3'",
            "UPDATE mails SET customer = 'x' WHERE order_id = 'o-3'",
            "UPDATE order_items SET line = line + 1 WHERE order_id = 'o-3'",
        ] {
            let (db, journal, _) = store(&orders());
            db.execute(sql, []).unwrap();
            let Count { lost, doubled, phantom, altered, .. } = total(&db, &journal);
            assert_eq!((lost, doubled, phantom, altered), (0, 0, 0, 1), "{sql}");
        }
    }

    #[test]
    fn a_delivery_without_a_mark_is_uncommitted() {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(
            "CREATE TABLE catga_consumer (id INTEGER, name TEXT); CREATE TABLE catga_inbox (consumer INTEGER, id BLOB);
             INSERT INTO catga_consumer VALUES (1, 'shop.mail'), (2, 'shop.stock');",
        )
        .unwrap();
        db.execute("INSERT INTO catga_inbox VALUES (1, ?1)", [MessageId(5).to_bytes()]).unwrap();
        let key = |consumer: &str, id| Key { consumer: consumer.to_owned(), id: MessageId(id) };
        let keys = [key("shop.mail", 5), key("shop.stock", 5), key("shop.mail", 6)];
        assert_eq!(uncommitted(&db, &keys).unwrap(), 2);
    }
}
