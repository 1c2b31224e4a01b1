//! Typed events in streams, and in handlers.
#![allow(clippy::unwrap_used)]

mod common;

use catga::{
    App, ErrorKind, Event, EventSet, EventStore, Expect, Request, Streams, ToEvents, Tx,
    sqlite::{Sqlite, rusqlite},
};
use common::*;
use serde::{Deserialize, Serialize};

#[derive(Event, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[catga(name = "account.opened", key = owner)]
struct Opened {
    owner: String,
}

#[derive(Event, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[catga(name = "account.paid-in")]
struct PaidIn {
    cents: u64,
}

#[derive(Event, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[catga(name = "account.paid-out")]
struct PaidOut {
    cents: u64,
}

#[derive(EventSet, Debug, PartialEq)]
enum AccountEvent {
    Opened(Opened),
    PaidIn(PaidIn),
    PaidOut(PaidOut),
}

#[derive(Default)]
struct Account {
    owner: Option<String>,
    cents: u64,
}

impl Account {
    fn apply(&mut self, event: AccountEvent) {
        match event {
            AccountEvent::Opened(Opened { owner }) => self.owner = Some(owner),
            AccountEvent::PaidIn(PaidIn { cents }) => self.cents += cents,
            AccountEvent::PaidOut(PaidOut { cents }) => self.cents -= cents,
        }
    }

    /// Business rules answer events; what they are appended to is not their business.
    fn pay_out(&self, cents: u64) -> Result<Vec<AccountEvent>, String> {
        match self.cents >= cents {
            true => Ok(vec![PaidOut { cents }.into()]),
            false => Err(format!("{} cents are too few for {cents}", self.cents)),
        }
    }
}

fn opened() -> Opened {
    Opened { owner: "Ada".into() }
}

#[tokio::test]
async fn events_of_all_shapes_are_appended_and_folded() {
    let store = Sqlite::temporary().await.unwrap();
    store.append_events("a", Expect::Empty, &opened()).await.unwrap();
    store.append_events("a", Expect::Version(1), &(PaidIn { cents: 5 }, PaidOut { cents: 2 })).await.unwrap();
    store.append_events("a", Expect::Version(3), &[PaidIn { cents: 10 }, PaidIn { cents: 20 }]).await.unwrap();
    let chosen: Vec<AccountEvent> = vec![PaidOut { cents: 3 }.into(), PaidIn { cents: 40 }.into()];
    store.append_events("a", Expect::Version(5), &chosen).await.unwrap();
    let (first, second) = (PaidIn { cents: 100 }, PaidOut { cents: 50 });
    store.append_events("a", Expect::Version(7), &[&first as &dyn ToEvents, &second]).await.unwrap();
    assert_eq!(store.append_events("a", Expect::Any, &Vec::<PaidIn>::new()).await.unwrap(), 9);

    let (account, version) = store.fold("a", Account::default(), Account::apply).await.unwrap();
    assert_eq!((account.owner.as_deref(), account.cents, version), (Some("Ada"), 120, 9));
    let page: Vec<(u64, AccountEvent)> = store.events("a", 8, 10).await.unwrap();
    assert_eq!(page, [(8, first.into()), (9, second.into())]);
    let (nobody, version) = store.fold("b", Account::default(), Account::apply).await.unwrap();
    assert_eq!((nobody.owner, version), (None, 0));
}

#[tokio::test]
async fn a_long_stream_is_folded_whole() {
    let store = Sqlite::temporary().await.unwrap();
    store.append_events("a", Expect::Empty, &vec![PaidIn { cents: 1 }; 256]).await.unwrap();
    assert_eq!(store.fold("a", 0, |sum, PaidIn { cents }| *sum += cents).await.unwrap(), (256, 256));
    store.append_events("a", Expect::Version(256), &vec![PaidIn { cents: 1 }; 300]).await.unwrap();
    assert_eq!(store.fold("a", 0, |sum, PaidIn { cents }| *sum += cents).await.unwrap(), (556, 556));
}

#[derive(EventSet, Debug, PartialEq)]
enum Deposits {
    PaidIn(PaidIn),
    #[catga(other)]
    Other,
}

#[tokio::test]
async fn an_event_that_a_set_does_not_know_is_an_error_unless_the_set_says_otherwise() {
    let store = Sqlite::temporary().await.unwrap();
    store.append_events("a", Expect::Empty, &(opened(), PaidIn { cents: 5 })).await.unwrap();
    let error = store.fold("a", 0, |sum, PaidIn { cents }| *sum += cents).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let text = format!("{error:#}");
    assert!(text.contains("stream `a`, version 1") && text.contains("`account.opened` is none of"), "{text}");
    let page: Vec<(u64, Deposits)> = store.events("a", 1, 10).await.unwrap();
    assert_eq!(page, [(1, Deposits::Other), (2, Deposits::PaidIn(PaidIn { cents: 5 }))]);
    let error = store.append_events("a", Expect::Any, &Deposits::Other).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

#[derive(Event, Clone, Serialize, Deserialize)]
#[catga(name = "account.credited")]
struct CreditedV1 {
    euros: u64,
}

#[derive(Event, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[catga(name = "account.deposited", alias = "account.credited", version = 2, from = CreditedV1)]
struct Deposited {
    cents: u64,
}

impl From<CreditedV1> for Deposited {
    fn from(old: CreditedV1) -> Self {
        Self { cents: old.euros * 100 }
    }
}

#[derive(Event, Clone, Serialize, Deserialize)]
#[catga(name = "account.deposited", version = 3)]
struct DepositedV3 {
    cents: u64,
    place: String,
}

#[tokio::test]
async fn old_names_and_versions_are_brought_up_and_newer_ones_are_refused() {
    let store = Sqlite::temporary().await.unwrap();
    store.append_events("a", Expect::Empty, &(CreditedV1 { euros: 2 }, Deposited { cents: 5 })).await.unwrap();
    assert_eq!(store.fold("a", 0, |sum, Deposited { cents }| *sum += cents).await.unwrap(), (205, 2));
    store.append_events("a", Expect::Any, &DepositedV3 { cents: 1, place: "x".into() }).await.unwrap();
    let error = store.fold("a", 0, |sum, Deposited { cents }| *sum += cents).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(format!("{error:#}").contains("version 3, newer than version 2"), "{error:#}");
}

#[derive(Request, Serialize, Deserialize)]
#[catga(name = "account.pay-out", reply = Result<u64, String>)]
struct PayOut {
    account: String,
    cents: u64,
}

async fn pay_out(order: PayOut, mut tx: Tx<Sqlite>) -> catga::Result<Result<u64, String>> {
    let (account, version) = tx.fold(&order.account, Account::default(), Account::apply).await?;
    let events = match account.pay_out(order.cents) {
        Ok(events) => events,
        Err(refusal) => return Ok(Err(refusal)),
    };
    tx.append(&order.account, Expect::Version(version), &events).await?;
    // What is appended is seen in the transaction at once.
    let (account, _) = tx.fold(&order.account, Account::default(), Account::apply).await?;
    Ok(Ok(account.cents))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_handler_decides_on_what_others_have_appended_before_it_in_the_same_commit() {
    let store = Sqlite::temporary().await.unwrap();
    store.append_events("a", Expect::Empty, &(opened(), PaidIn { cents: 10 })).await.unwrap();
    let app = App::builder("bank").store(store.clone()).handle(pay_out).build().await.unwrap();
    let sends = (0..16).map(|_| app.send(PayOut { account: "a".into(), cents: 1 }));
    let answers = futures_util::future::try_join_all(sends).await.unwrap();
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 10);
    let (account, version) = store.fold("a", Account::default(), Account::apply).await.unwrap();
    assert_eq!((account.cents, version), (0, 12), "no conflict, and nobody overdrew");
}

#[derive(Request, Serialize, Deserialize)]
#[catga(name = "account.move", reply = Result<(), String>)]
struct Move(bool);

async fn move_money(Move(fine): Move, mut tx: Tx<Sqlite>) -> catga::Result<Result<(), String>> {
    tx.append("from", Expect::Any, &PaidOut { cents: 1 }).await?;
    tx.append("to", Expect::Any, &PaidIn { cents: 1 }).await?;
    Ok(if fine { Ok(()) } else { Err("no".into()) })
}

#[tokio::test]
async fn what_a_handler_appends_commits_with_its_answer_or_not_at_all() {
    let store = Sqlite::temporary().await.unwrap();
    let app = App::builder("bank").store(store.clone()).handle(move_money).build().await.unwrap();
    app.send(Move(false)).await.unwrap().unwrap_err();
    assert!(store.read_all(0, 9).await.unwrap().is_empty(), "a refusal undoes the writes");
    app.send(Move(true)).await.unwrap().unwrap();
    let all = store.read_all(0, 9).await.unwrap();
    let streams: Vec<_> = all.iter().map(|event| event.stream.as_str()).collect();
    assert_eq!(streams, ["from", "to"]);
    let [first, second] = [0, 1].map(|index| all[index].open().unwrap());
    assert_eq!(first.causation, second.causation, "both descend from the request");
    assert_eq!(first.correlation, first.causation);
    assert_ne!(first.id, second.id);
}

/// Appends to two streams and publishes; fails when its conflict is not the one that it expects.
async fn book(event: Placed, mut tx: Tx<Sqlite>) -> catga::Result<()> {
    let error = tx.append("book", Expect::Version(77), &PaidIn { cents: event.id }).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    tx.append("book", Expect::Any, &(PaidIn { cents: event.id }, PaidOut { cents: 1 })).await?;
    tx.append("other", Expect::Any, &PaidIn { cents: event.id }).await?;
    tx.publish(Noted)?;
    Ok(())
}

#[derive(Event, Clone, Serialize, Deserialize)]
#[catga(name = "book.noted")]
struct Noted;

#[tokio::test]
async fn a_message_that_is_handled_again_appends_nothing_twice() {
    let store = temporary().await;
    let app = App::builder("bank").store(store.clone()).on("book", book).build().await.unwrap();
    app.publish(Placed { id: 4 }).await.unwrap();
    app.publish(Placed { id: 5 }).await.unwrap();
    app.run_until_idle().await.unwrap();
    let before = (store.read_all(0, 99).await.unwrap().len(), count(&store, "SELECT count(*) FROM catga_inbox"));
    assert_eq!(before, (6, 2));
    let frames: Vec<Vec<u8>> = store.read_all(0, 99).await.unwrap().iter().map(|event| event.frame.to_vec()).collect();
    // The marks are gone, as after their seven days, and the messages come again.
    forget_and_repeat(&store, &[4, 5], &app).await;
    let after: Vec<Vec<u8>> = store.read_all(0, 99).await.unwrap().iter().map(|event| event.frame.to_vec()).collect();
    assert_eq!(after, frames);
}

/// Queues what was handled once more, without a mark.
async fn forget_and_repeat(store: &Sqlite, orders: &[u64], app: &App) {
    let db = rusqlite::Connection::open(store.path()).unwrap();
    let handled: Vec<Vec<u8>> = {
        let mut select = db.prepare("SELECT id FROM catga_inbox").unwrap();
        select.query_map((), |row| row.get(0)).unwrap().collect::<rusqlite::Result<_>>().unwrap()
    };
    assert_eq!(handled.len(), orders.len());
    for (id, order) in handled.into_iter().zip(orders) {
        let id = catga::MessageId::from_bytes(id.try_into().unwrap());
        let payload = format!(r#"{{"id":{order}}}"#).into_bytes();
        let mut envelope = catga::Envelope::new(id, "orders.placed".into(), "json".into(), payload.into());
        envelope.key = Some(catga::Key::new(order.to_string()));
        let sql = "INSERT INTO catga_queue (consumer, frame) VALUES ((SELECT id FROM catga_consumer), ?1)";
        db.execute(sql, [envelope.encode().unwrap()]).unwrap();
    }
    db.execute("DELETE FROM catga_inbox", ()).unwrap();
    drop(db);
    app.run_until_idle().await.unwrap();
    assert_eq!(count(store, "SELECT count(*) FROM catga_inbox"), orders.len() as i64, "each was handled again");
}
