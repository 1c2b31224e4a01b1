//! What a handler's SQL can and cannot do to the transaction it works in.
#![allow(clippy::unwrap_used)]

mod common;

use catga::{App, ErrorKind, Request, State, Tx, sqlite::Sqlite};
use common::*;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

#[derive(Request)]
#[catga(name = "sql.run", reply = usize, local)]
struct Run(String);

/// Writes an order, then runs what it is told; answers `Ok` whatever comes of it where that is in the state.
async fn run(Run(sql): Run, mut tx: Tx<Sqlite>, swallow: State<Arc<AtomicBool>>) -> catga::Result<usize> {
    tx.execute("INSERT INTO orders (id) VALUES (1)", ())?;
    match tx.execute(&sql, ()) {
        Err(_) if swallow.load(Ordering::Relaxed) => Ok(0),
        result => result,
    }
}

async fn runner(store: &Sqlite, swallow: bool) -> App {
    let swallow = Arc::new(AtomicBool::new(swallow));
    App::builder("shop").store(store.clone()).state(swallow).handle(run).build().await.unwrap()
}

#[tokio::test]
async fn transaction_control_and_escapes_are_refused_with_a_clear_error() {
    let store = temporary().await;
    let app = runner(&store, false).await;
    let refused = [
        ("COMMIT", "transaction control"),
        ("commit;", "transaction control"),
        ("END", "transaction control"),
        ("ROLLBACK", "transaction control"),
        ("BEGIN", "transaction control"),
        ("BEGIN IMMEDIATE", "transaction control"), // exactly our text
        ("SAVEPOINT mine", "SAVEPOINT mine"),
        ("SAVEPOINT turn", "SAVEPOINT turn"), // exactly our text
        ("SAVEPOINT s0", "SAVEPOINT s0"),     // exactly our text
        ("RELEASE turn", "SAVEPOINT turn"),   // exactly our text
        ("RELEASE s0", "SAVEPOINT s0"),       // exactly our text
        ("ROLLBACK TO turn", "SAVEPOINT turn"),
        ("PRAGMA synchronous = OFF", "PRAGMA synchronous"),
        ("PRAGMA journal_mode", "PRAGMA journal_mode"),
        ("ATTACH 'other.db' AS other", "ATTACH"),
        ("DETACH main", "DETACH"),
        ("DELETE FROM catga_inbox WHERE 1", "DELETE FROM catga_inbox"),
        ("UPDATE Catga_Outbox SET subject = ''", "UPDATE catga_outbox"),
        ("INSERT INTO catga_letter DEFAULT VALUES", "INSERT INTO catga_letter"),
        ("DROP TABLE catga_queue", "catga_queue"),
        ("DROP INDEX catga_queue_by_consumer", "catga_queue"),
        ("CREATE INDEX mine ON catga_queue (seq)", "an index on catga_queue"),
        ("CREATE TRIGGER mine AFTER INSERT ON catga_queue BEGIN DELETE FROM orders; END", "a trigger on catga_queue"),
    ];
    // Twice, so that nothing of the first round lies prepared in the cache for the second.
    for (sql, named) in refused.iter().chain(&refused) {
        let error = app.send(Run((*sql).into())).await.unwrap_err();
        let text = error.to_string();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{sql}: {text}");
        assert!(text.contains(named) && text.contains("is refused"), "{sql}: {text}");
        assert!(text.contains("run` of `sql.run`"), "the handler is named: {text}");
    }
    assert_eq!(count(&store, "SELECT count(*) FROM orders"), 0);
    // Nothing of it broke the connection.
    app.send(Run("INSERT INTO orders (id) VALUES (2)".into())).await.unwrap();
    assert_eq!(numbers(&store, "SELECT id FROM orders"), [1, 2]);
}

#[tokio::test]
async fn the_text_of_a_statement_of_ours_is_no_way_to_our_tables() {
    let store = temporary().await;
    let app = App::builder("shop").store(store.clone()).state(Arc::new(AtomicBool::new(false)));
    let app = app.handle(run).handle(place).build().await.unwrap();
    app.send(Place(1)).await.unwrap().unwrap(); // Ours lies prepared in the cache from here on.
    let ours = "INSERT INTO catga_outbox (partition, id, subject, frame, key) VALUES (?1, ?2, ?3, ?4, ?5)";
    let error = app.send(Run(ours.into())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error:#}");
    assert!(error.to_string().contains("INSERT INTO catga_outbox"), "{error:#}");
}

#[tokio::test]
async fn two_statements_at_once_are_refused() {
    let store = temporary().await;
    let app = runner(&store, false).await;
    let error = app.send(Run("DELETE FROM orders; COMMIT".into())).await.unwrap_err();
    assert!(error.to_string().contains("refused") || format!("{error:#}").contains("Multiple"), "{error:#}");
    assert_eq!(count(&store, "SELECT count(*) FROM orders"), 0);
}

#[tokio::test]
async fn a_refused_statement_whose_error_is_swallowed_does_no_harm() {
    let store = temporary().await;
    let app = runner(&store, true).await;
    app.send(Run("COMMIT".into())).await.unwrap();
    assert_eq!(numbers(&store, "SELECT id FROM orders"), [1]);
}

#[tokio::test]
async fn a_transaction_that_sqlite_ended_commits_nothing_even_if_the_handler_says_ok() {
    let store = temporary().await.migrate(&[SCHEMA[0], "CREATE TABLE once (id INTEGER PRIMARY KEY)"]).await.unwrap();
    let app = runner(&store, true).await;
    app.send(Run("INSERT INTO once (id) VALUES (1)".into())).await.unwrap();
    let error = app.send(Run("INSERT OR ROLLBACK INTO once (id) VALUES (1)".into())).await.unwrap_err();
    assert!(error.to_string().contains("SQLite ended the transaction by itself"), "{error}");
    assert_eq!(count(&store, "SELECT count(*) FROM orders"), 1, "only the first call's");
}

#[tokio::test]
async fn a_consumer_that_ends_the_transaction_is_buried_and_its_batch_is_handled() {
    let store = temporary().await.migrate(&[SCHEMA[0], "CREATE TABLE once (id INTEGER PRIMARY KEY)"]).await.unwrap();
    let script = Script::new(|id, _, tx| {
        tx.execute("INSERT OR IGNORE INTO once (id) VALUES (1)", ())?;
        if id == 5 {
            // Swallowed: the handler says that all is well.
            let _ = tx.execute("INSERT OR ROLLBACK INTO once (id) VALUES (1)", ());
        }
        Ok(())
    });
    let app = shop(&store, script).backoff(quick(3)).build().await.unwrap();
    for id in 1..=20 {
        app.send(Place(id)).await.unwrap().unwrap();
    }
    app.run_until_idle().await.unwrap();
    let handled: Vec<i64> = (1..=20).filter(|id| *id != 5).collect();
    assert_eq!(numbers(&store, "SELECT order_id FROM mails ORDER BY 1"), handled);
    assert_eq!(count(&store, "SELECT count(*) FROM catga_letter"), 1);
}

#[tokio::test]
async fn a_full_disk_inside_a_batch_acknowledges_nothing_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop.db");
    let handled = {
        let store = Sqlite::open(&path).await.unwrap().migrate(SCHEMA).await.unwrap();
        // A batch whose 30th delivery needs more room than there is.
        let script = Script::new(|id, _, tx| {
            if id == 30 {
                let size = "INSERT INTO mails (order_id, consumer) VALUES (-1, hex(zeroblob(4000000)))";
                tx.execute(size, ())?;
            }
            Ok(())
        });
        let app = shop(&store, script).build().await.unwrap();
        for id in 1..=40 {
            app.send(Place(id)).await.unwrap().unwrap();
        }
        let size: u64 = store.read(|db| db.pragma_query_value(None, "page_count", |row| row.get(0))).unwrap();
        let store = store.max_size((size + 200) * 4096).await.unwrap();
        let mut checks = 0;
        app.run(async {
            // As long as the disk is full, the batch is tried again and nothing of it stays.
            while checks < 20 {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                checks += 1;
                // In one query, so that no commit comes between the two counts.
                let apart = "SELECT (SELECT count(*) FROM mails) - (SELECT count(*) FROM catga_inbox)";
                assert_eq!(count(&store, apart), 0, "a mark and its effect are one");
                // In the order in which a message moves, so that none is missed on its way.
                let unsent = count(&store, "SELECT count(*) FROM catga_outbox");
                let waiting = count(&store, "SELECT count(*) FROM catga_queue");
                let marks = count(&store, "SELECT count(*) FROM catga_inbox");
                // More than 40 where the relay could not note that it had handed them over, and did so again.
                assert!(unsent > 0 || waiting + marks >= 40, "{waiting} wait and {marks} are handled");
                assert_eq!(count(&store, "SELECT count(*) FROM mails WHERE order_id IN (-1, 30)"), 0);
            }
        })
        .await
        .unwrap();
        count(&store, "SELECT count(*) FROM catga_inbox")
    };
    assert!(handled < 40, "the full disk was met");
    // With room again, each is handled once.
    let store = Sqlite::open(&path).await.unwrap().migrate(SCHEMA).await.unwrap();
    let app = shop(&store, Script::fine()).build().await.unwrap();
    app.run_until_idle().await.unwrap();
    assert_eq!(numbers(&store, "SELECT order_id FROM mails ORDER BY 1"), (1..=40).collect::<Vec<_>>());
}
