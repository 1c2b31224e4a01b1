//! Messages that are due later come then: not before, not by looking again and again, and they hold nobody up.
#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/parcels.rs"]
mod parcels;

use catga::{
    App, Capabilities, PublishOptions, Request, Settle, Transport, Tx,
    sqlite::{Sqlite, rusqlite},
};
use common::{Placed, SCHEMA, Script, count, mail, numbers, temporary};
use parcels::{CONSUMER, next, number, parcel, publish, publish_all, register, settle_all, subscribe, unsettled};
use std::{
    path::Path,
    time::{Duration, Instant, SystemTime},
};

const HOUR: Duration = Duration::from_secs(3600);

fn due(time: SystemTime) -> PublishOptions {
    PublishOptions { due: Some(time), ..PublishOptions::default() }
}

fn after(pause: Duration) -> SystemTime {
    SystemTime::now() + pause
}

/// Places order 1 for later and order 2 at once.
#[derive(Request)]
#[catga(name = "orders.both", local)]
struct Both(SystemTime);

async fn both(Both(time): Both, mut tx: Tx<Sqlite>) -> catga::Result<()> {
    tx.publish_with(Placed { id: 1 }, due(time))?;
    tx.publish(Placed { id: 2 })?;
    Ok(())
}

async fn app(store: &Sqlite) -> App {
    let app = App::builder("shop").store(store.clone()).state(Script::fine()).handle(both).on("mail", mail);
    app.build().await.unwrap()
}

/// Lets all that is due later be due at another time.
fn move_to(path: &Path, time: SystemTime) {
    let micros = time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_micros() as i64;
    rusqlite::Connection::open(path).unwrap().execute("UPDATE catga_later SET due = ?1", [micros]).unwrap();
}

async fn open(path: &Path) -> Sqlite {
    Sqlite::open(path).await.unwrap().migrate(SCHEMA).await.unwrap()
}

#[tokio::test]
async fn a_published_message_comes_when_it_is_due_and_takes_its_place_then() {
    let store = Sqlite::temporary().await.unwrap();
    let Capabilities { delay, .. } = Transport::capabilities(&store);
    assert!(delay);
    register(&store, CONSUMER).await;
    let mut mail = subscribe(&store, false).await;
    let time = after(Duration::from_millis(200));
    let mut later = [parcel(Some("a"), 1), parcel(Some("a"), 2), parcel(None, 3)];
    later[0].due = Some(time + Duration::from_millis(50));
    later[1].due = Some(time);
    later[2].due = Some(SystemTime::UNIX_EPOCH);
    publish(&store, &later).await;
    publish_all(&store, Some("a"), [4]).await;
    assert_eq!(unsettled(&store).await, 4);
    let mut seen = Vec::new();
    while seen.len() < 4 {
        let batch = next(&mut mail).await;
        seen.extend(batch.iter().map(|delivery| (number(delivery), SystemTime::now())));
        assert!(batch.iter().all(|delivery| delivery.started == 0 && delivery.first.is_none()));
        settle_all(&mail, &batch, Settle::Done).await;
    }
    let order: Vec<u32> = seen.iter().map(|(number, _)| *number).collect();
    assert_eq!(order, [3, 4, 2, 1], "a time that has passed is now");
    for (at, due) in [(2, time), (3, time + Duration::from_millis(50))] {
        let late = seen[at].1.duration_since(due).expect("not before its time");
        assert!(late < Duration::from_secs(2), "{late:?} late");
    }
    assert_eq!(unsettled(&store).await, 0);
}

#[tokio::test]
async fn ten_thousand_that_are_due_later_stop_nobody_and_survive() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop.db");
    {
        let store = Sqlite::open(&path).await.unwrap();
        register(&store, CONSUMER).await;
        let mut mail = subscribe(&store, false).await;
        let mut parcels: Vec<_> = (0..11_000).map(|number| parcel(Some("a"), number)).collect();
        parcels.iter_mut().for_each(|parcel| parcel.due = Some(after(HOUR)));
        publish(&store, &parcels).await;
        publish_all(&store, Some("a"), [99_999]).await;
        let batch = next(&mut mail).await;
        assert_eq!(batch.iter().map(number).collect::<Vec<_>>(), [99_999]);
        settle_all(&mail, &batch, Settle::Done).await;
    }
    let time = after(Duration::from_millis(300));
    move_to(&path, time);
    let store = Sqlite::open(&path).await.unwrap();
    register(&store, CONSUMER).await;
    let mut mail = subscribe(&store, false).await;
    assert_eq!(unsettled(&store).await, 11_000);
    let mut seen = Vec::new();
    while seen.len() < 11_000 {
        let batch = next(&mut mail).await;
        assert!(SystemTime::now() >= time, "not before its time");
        seen.extend(batch.iter().map(number));
        settle_all(&mail, &batch, Settle::Done).await;
    }
    assert_eq!(seen, (0..11_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_a_handler_publishes_for_later_leaves_then_and_holds_nobody_up() {
    let store = temporary().await;
    let app = app(&store).await;
    let pause = Duration::from_millis(300);
    let (began, time) = (Instant::now(), after(pause));
    app.send(Both(time)).await.unwrap();
    app.run_until_idle().await.unwrap();
    assert!(SystemTime::now() >= time, "it waits for what is due later");
    assert_eq!(numbers(&store, "SELECT order_id FROM mails ORDER BY rowid"), [2, 1]);
    // A relay that looked again from time to time would take up to 10 s.
    assert!(began.elapsed() < pause + Duration::from_secs(3), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_restart_forgets_no_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop.db");
    {
        let store = open(&path).await;
        let app = app(&store).await;
        app.send(Both(after(HOUR))).await.unwrap();
        app.publish_with(Placed { id: 3 }, due(after(HOUR))).await.unwrap();
        let handled = async {
            while count(&store, "SELECT count(*) FROM mails") == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        app.run(handled).await.unwrap();
        assert_eq!(numbers(&store, "SELECT order_id FROM mails"), [2]);
    }
    let time = after(Duration::from_millis(300));
    move_to(&path, time);
    let store = open(&path).await;
    app(&store).await.run_until_idle().await.unwrap();
    let late = SystemTime::now().duration_since(time).expect("not before its time");
    assert!(late < Duration::from_secs(3), "{late:?} late");
    assert_eq!(numbers(&store, "SELECT order_id FROM mails ORDER BY order_id"), [1, 2, 3]);
    for table in ["catga_later", "catga_outbox", "catga_queue"] {
        assert_eq!(count(&store, &format!("SELECT count(*) FROM {table}")), 0, "{table}");
    }
}
