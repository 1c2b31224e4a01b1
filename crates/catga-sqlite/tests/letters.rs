//! Dead letters are read, replayed to their consumer alone, and discarded: by the process that works on the file, and by
//! a tool beside it.
#![allow(clippy::unwrap_used)]

mod common;

use catga::{App, DeadLetters, Error, ErrorKind, LetterId, sqlite::Sqlite};
use common::*;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// A shop whose mails fail for good as long as the switch says so; an auditor hears of the same orders.
async fn failing(store: &Sqlite) -> (App, Arc<AtomicBool>) {
    let fails = Arc::new(AtomicBool::new(true));
    let switch = fails.clone();
    let script = Script::new(move |id, _, _| match switch.load(Ordering::SeqCst) && id % 2 == 0 {
        true => Err(Error::permanent(format!("no stamp for {id}"))),
        false => Ok(()),
    });
    async fn audit(_: Placed, seen: catga::State<std::sync::Mutex<u32>>) -> catga::Result<()> {
        *seen.lock().unwrap() += 1;
        Ok(())
    }
    let app = shop(store, script).state(std::sync::Mutex::new(0_u32)).on("audit", audit).build().await.unwrap();
    (app, fails)
}

#[tokio::test]
async fn letters_are_listed_in_order_replayed_once_and_removed() {
    let store = temporary().await;
    let (app, fails) = failing(&store).await;
    for id in 1..=6 {
        app.send(Place(id)).await.unwrap().unwrap();
    }
    app.run_until_idle().await.unwrap();
    let letters = store.list(LetterId::default(), 10).await.unwrap();
    let told: Vec<_> =
        letters.iter().map(|letter| (letter.id.0, letter.consumer.to_string(), letter.attempts)).collect();
    assert_eq!(told, [1, 2, 3].map(|id| (id, "shop.mail".to_owned(), 1)));
    assert!(letters[0].reason.ends_with("no stamp for 2"), "{}", letters[0].reason);
    assert!(letters[0].handler.ends_with("mail"), "{}", letters[0].handler);
    assert_eq!(letters[1].open().unwrap().name, "orders.placed");
    assert_eq!(store.list(LetterId(2), 10).await.unwrap().len(), 1, "the list goes on behind an id");

    // Still wrong: it is buried again, as a new letter.
    assert!(store.replay(LetterId(1)).await.unwrap());
    app.run_until_idle().await.unwrap();
    assert_eq!(numbers(&store, "SELECT id FROM catga_letter"), [2, 3, 4]);
    // Mended: it has its effect, once, and at that consumer alone.
    fails.store(false, Ordering::SeqCst);
    assert!(store.replay(LetterId(4)).await.unwrap());
    assert!(!store.replay(LetterId(4)).await.unwrap(), "it is gone");
    app.run_until_idle().await.unwrap();
    assert_eq!(numbers(&store, "SELECT order_id FROM mails ORDER BY 1"), [1, 2, 3, 5]);
    assert!(store.remove(LetterId(2)).await.unwrap() && !store.remove(LetterId(2)).await.unwrap());
    assert_eq!(numbers(&store, "SELECT id FROM catga_letter"), [3]);

    store.remove_consumer("shop.mail").await.unwrap();
    let error = store.replay(LetterId(3)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("consumer `shop.mail`, which takes nothing any more"), "{error}");
    assert_eq!(numbers(&store, "SELECT id FROM catga_letter"), [3], "the letter stays");
}

#[tokio::test]
async fn what_a_tool_replays_is_noticed_by_the_running_process() {
    let store = temporary().await;
    let (app, fails) = failing(&store).await;
    app.send(Place(2)).await.unwrap().unwrap();
    app.run_until_idle().await.unwrap();
    fails.store(false, Ordering::SeqCst);
    let replayed = async {
        let tool = Sqlite::open_tool(store.path()).await.unwrap();
        assert!(tool.replay(LetterId(1)).await.unwrap());
        let began = Instant::now();
        while count(&store, "SELECT count(*) FROM mails") == 0 {
            assert!(began.elapsed() < Duration::from_secs(20), "nobody noticed");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    app.run(replayed).await.unwrap();
    assert_eq!(numbers(&store, "SELECT order_id FROM mails"), [2]);
}
