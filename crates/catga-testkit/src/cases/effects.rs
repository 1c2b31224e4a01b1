//! What an application makes of a store: a request, an event, two consumers, and everything that goes wrong between.

use crate::{
    Rows,
    tools::{open, sorted},
};
use bytes::Bytes;
use catga::{
    App, Backoff, Context, DeadLetters, Envelope, Error, Event, LetterId, MessageId, Outcome, Parcel, Request, Result,
    State, Transport, Tx,
};
use serde::{Deserialize, Serialize};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

#[derive(Request)]
#[catga(name = "orders.place", local)]
struct Place(u64);

#[derive(Event, Clone, Serialize, Deserialize)]
#[catga(name = "orders.placed")]
struct Placed {
    id: u64,
}

/// What a mail sends on, so that messages of consumers are seen, too.
#[derive(Event, Clone, Serialize, Deserialize)]
#[catga(name = "mails.sent")]
struct Sent {
    id: u64,
    attempt: u32,
}

/// How a try of the mail consumer ends after it wrote and published.
type Deed = Box<dyn Fn(u64, u32) -> Result<()> + Send + Sync>;

type Seen<T> = Arc<Mutex<Vec<T>>>;

struct World<S> {
    store: S,
    deed: Deed,
    /// What left as [`Sent`], with the try that published it.
    sent: Seen<(u64, u32)>,
}

/// Rows below are orders, those from here on are mails, and those from there on are what was taken from the stock.
const MAILS: u64 = 1_000_000;
const STOCK: u64 = 2_000_000;

async fn place<B: Rows>(Place(id): Place, mut tx: Tx<B::Store>, world: State<World<B::Store>>) -> Result<()> {
    B::write(&world.store, &mut tx, id).await?;
    tx.publish(Placed { id })?;
    if id % 10 == 9 { Err(Error::permanent("no such customer")) } else { Ok(()) }
}

async fn mail<B: Rows>(event: Placed, mut tx: Tx<B::Store>, world: State<World<B::Store>>, cx: Context) -> Result<()> {
    B::write(&world.store, &mut tx, MAILS + event.id).await?;
    tx.publish(Sent { id: event.id, attempt: cx.attempt })?;
    (world.deed)(event.id, cx.attempt)
}

async fn stock<B: Rows>(event: Placed, mut tx: Tx<B::Store>, world: State<World<B::Store>>) -> Result<()> {
    B::write(&world.store, &mut tx, STOCK + event.id).await
}

async fn ledger<B: Rows>(event: Sent, world: State<World<B::Store>>) -> Result<()> {
    world.sent.lock().unwrap().push((event.id, event.attempt));
    Ok(())
}

struct Shop<B: Rows> {
    app: App,
    store: B::Store,
    sent: Seen<(u64, u32)>,
}

impl<B: Rows> Shop<B> {
    /// The application on a fresh store, with the defect that the backend asks for.
    async fn open(backend: &B, deed: impl Fn(u64, u32) -> Result<()> + Send + Sync + 'static) -> Self {
        let store = open(backend).await;
        let sent = Seen::default();
        let world = World { store: store.clone(), deed: Box::new(deed), sent: sent.clone() };
        let millisecond = Duration::from_millis(1);
        let backoff = Backoff { attempts: 4, first: millisecond, most: millisecond, ..Backoff::default() };
        let builder = App::builder("shop").store(store.clone()).state(world).backoff(backoff);
        #[cfg(feature = "sabotage")]
        let builder = match backend.fault() {
            Some(fault) => builder.sabotage(fault),
            None => builder,
        };
        let builder = builder.handle(place::<B>).on("mail", mail::<B>).on("stock", stock::<B>);
        let app = builder.on("ledger", ledger::<B>).build().await.expect("an application");
        Self { app, store, sent }
    }

    /// Places these orders and works until nothing is left to do; answers which were refused.
    async fn place(&self, ids: impl IntoIterator<Item = u64>) -> Vec<u64> {
        let mut failed = Vec::new();
        for id in ids {
            if self.app.send(Place(id)).await.is_err() {
                failed.push(id);
            }
        }
        self.app.run_until_idle().await.expect("working");
        failed
    }

    /// The ids in the rows of a kind.
    async fn rows(&self, kind: u64) -> Vec<u64> {
        let rows = B::rows(&self.store).await.unwrap();
        sorted(rows.into_iter().filter(|row| row / MAILS * MAILS == kind).map(|row| row % MAILS).collect())
    }

    async fn orders(&self) -> Vec<u64> {
        self.rows(0).await
    }

    async fn mails(&self) -> Vec<u64> {
        self.rows(MAILS).await
    }

    async fn stocked(&self) -> Vec<u64> {
        self.rows(STOCK).await
    }

    fn sent(&self) -> Vec<(u64, u32)> {
        let mut sent = self.sent.lock().unwrap().clone();
        sent.sort_unstable();
        sent
    }
}

pub async fn every_order_has_its_effects_once<B: Rows>(backend: B) {
    let shop = Shop::open(&backend, |_, _| Ok(())).await;
    assert_eq!(shop.place(0..30).await, [9, 19, 29]);
    let stand: Vec<u64> = (0..30).filter(|id| id % 10 != 9).collect();
    assert_eq!(shop.orders().await, stand, "rows of those that were answered, and of no other");
    assert_eq!(shop.stocked().await, stand, "nothing is published by a call that failed");
    assert_eq!(shop.mails().await, stand);
    assert_eq!(shop.sent(), stand.iter().map(|id| (*id, 1)).collect::<Vec<_>>());
}

pub async fn what_fails_comes_again_and_leaves_one_effect<B: Rows>(backend: B) {
    let shop = Shop::open(&backend, |id, attempt| match u64::from(attempt) <= id % 3 {
        true => Err(Error::new(catga::ErrorKind::Handler, "not yet")),
        false => Ok(()),
    })
    .await;
    shop.place(0..9).await;
    assert_eq!(shop.mails().await, (0..9).collect::<Vec<_>>(), "no row of a try that failed, and none lost");
    let sent: Vec<_> = (0..9_u64).map(|id| (id, id as u32 % 3 + 1)).collect();
    assert_eq!(shop.sent(), sent, "and no message of one");
    assert_eq!(shop.stocked().await, (0..9).collect::<Vec<_>>(), "the other consumer handles each once");
}

pub async fn a_panic_leaves_no_effect_and_comes_again<B: Rows>(backend: B) {
    let shop = Shop::open(&backend, |id, attempt| {
        assert!(id % 4 != 2 || attempt > 1, "on purpose: the first try of order {id} panics");
        Ok(())
    })
    .await;
    shop.place(0..8).await;
    assert_eq!(shop.mails().await, (0..8).collect::<Vec<_>>());
    let sent: Vec<_> = (0..8_u64).map(|id| (id, if id % 4 == 2 { 2 } else { 1 })).collect();
    assert_eq!(shop.sent(), sent);
}

pub async fn a_message_handed_over_twice_has_one_effect<B: Rows<Store: Transport>>(backend: B) {
    let shop = Shop::open(&backend, |_, _| Ok(())).await;
    let payload = Bytes::from_static(br#"{"id":5}"#);
    let frame = Envelope::new(MessageId::new(), "orders.placed".into(), "json".into(), payload);
    let parcel = Parcel::new("catga.orders.placed".into(), frame.id, Bytes::from(frame.encode().unwrap()));
    for _ in 0..3 {
        let mut outcomes = Vec::new();
        shop.store.publish(&[parcel.clone(), parcel.clone()], &mut outcomes).await.unwrap();
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Stored | Outcome::Duplicate)));
        shop.app.run_until_idle().await.unwrap();
    }
    assert_eq!(shop.mails().await, [5]);
    assert_eq!((shop.sent(), shop.stocked().await), (vec![(5, 1)], vec![5]));
}

pub async fn what_fails_for_good_is_buried_without_effects<B: Rows<Store: DeadLetters>>(backend: B) {
    let shop = Shop::open(&backend, |id, _| match id {
        3 => Err(Error::permanent("no such address")),
        5 => Err(Error::new(catga::ErrorKind::Handler, "never")),
        _ => Ok(()),
    })
    .await;
    shop.place(0..8).await;
    assert_eq!(shop.mails().await, [0, 1, 2, 4, 6, 7]);
    assert_eq!(shop.sent().len(), 6);
    let letters = shop.store.list(LetterId(0), 10).await.unwrap();
    let mut told: Vec<_> = letters.iter().map(|letter| (letter.attempts, letter.consumer.to_string())).collect();
    told.sort_unstable();
    assert_eq!(told, [(1, "shop.mail".into()), (4, "shop.mail".into())], "at once, and after the limit");
    assert!(letters.iter().any(|letter| letter.reason.contains("no such address")));
    // And it comes back to that consumer alone.
    let stocked = shop.stocked().await.len();
    for letter in letters {
        assert!(shop.store.replay(letter.id).await.unwrap());
    }
    shop.app.run_until_idle().await.unwrap();
    assert_eq!(shop.store.list(LetterId(0), 10).await.unwrap().len(), 2, "still wrong, and buried again");
    assert_eq!((shop.mails().await.len(), shop.stocked().await.len()), (6, stocked));
}
