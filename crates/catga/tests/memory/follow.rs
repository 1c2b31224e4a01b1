//! Followers over it: their effects and their place are one commit.
use super::*;
use catga::{App, Backoff, Context, Error, ErrorKind, Event, Expect, Place, State, Streams, Tx};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex};

#[derive(Event, Clone, Serialize, Deserialize)]
#[catga(name = "it.counted")]
struct Counted(u64);

#[derive(Event, Clone, Serialize, Deserialize)]
#[catga(name = "it.noted")]
struct Noted(u64);

/// What the follower was given, with its try; what its messages told; and the number that it stumbles over.
#[derive(Default)]
struct Seen {
    given: Mutex<Vec<(u64, u64, u32)>>,
    told: Mutex<Vec<u64>>,
    stumbles: Mutex<Option<(u64, u32)>>,
}

async fn note(
    event: Counted,
    mut tx: Tx<Memory>,
    place: Place,
    seen: State<Arc<Seen>>,
    cx: Context,
) -> catga::Result<()> {
    seen.given.lock().unwrap().push((event.0, place.position, cx.attempt));
    tx.publish(Noted(event.0))?;
    match *seen.stumbles.lock().unwrap() {
        Some((number, tries)) if number == event.0 && cx.attempt <= tries => {
            Err(Error::new(ErrorKind::Handler, "stumbled"))
        }
        _ => Ok(()),
    }
}

async fn tell(event: Noted, _tx: Tx<Memory>, seen: State<Arc<Seen>>) -> catga::Result<()> {
    seen.told.lock().unwrap().push(event.0);
    Ok(())
}

async fn count_to(store: &Memory, numbers: impl IntoIterator<Item = u64>) {
    for number in numbers {
        store.append_events(&format!("s{}", number % 3), Expect::Any, &Counted(number)).await.unwrap();
    }
}

async fn app(store: &Memory, seen: &Arc<Seen>) -> App {
    let backoff = Backoff { attempts: 3, ..Backoff::default() };
    let builder = App::builder("shop").store(store.clone()).state(seen.clone()).backoff(backoff);
    builder.follow("notes", note).on("tell", tell).build().await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_follower_is_given_every_event_in_order_and_one_that_fails_leaves_nothing() {
    let (store, seen) = (Memory::new(), Arc::new(Seen::default()));
    *seen.stumbles.lock().unwrap() = Some((7, 2));
    count_to(&store, 1..=20).await;
    app(&store, &seen).await.run_until_idle().await.unwrap();
    let given: Vec<_> = (1..=6).map(|n| (n, n, 1)).chain((1..=3).map(|n| (7, 7, n))).collect();
    assert_eq!(seen.given.lock().unwrap()[..9], given[..], "those behind it wait");
    assert_eq!(*seen.told.lock().unwrap(), (1..=20).collect::<Vec<_>>(), "each told once");

    // Its place is the store's: another application goes on there.
    seen.given.lock().unwrap().clear();
    count_to(&store, [21, 22]).await;
    app(&store, &seen).await.run_until_idle().await.unwrap();
    assert_eq!(*seen.given.lock().unwrap(), [(21, 21, 1), (22, 22, 1)]);
    assert_eq!(*seen.told.lock().unwrap(), (1..=22).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_fails_for_good_pauses_and_skips_nothing() {
    let (store, seen) = (Memory::new(), Arc::new(Seen::default()));
    *seen.stumbles.lock().unwrap() = Some((4, u32::MAX));
    count_to(&store, 1..=6).await;
    let app = app(&store, &seen).await;
    assert_eq!(app.run_until_idle().await.unwrap_err().kind(), ErrorKind::Unsupported);
    let (name, report) = app.paused().pop().unwrap();
    assert_eq!(name, "shop.notes");
    assert!(report.contains("position 4") && report.contains("stumbled"), "{report}");
    *seen.stumbles.lock().unwrap() = None;
    app.run_until_idle().await.unwrap();
    assert_eq!(*seen.told.lock().unwrap(), (1..=6).collect::<Vec<_>>());
}
