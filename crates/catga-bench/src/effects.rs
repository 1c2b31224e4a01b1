//! `bench effects`: what an effect costs that happens once, beside a bare loop that writes the same rows.
//!
//! An effect is a mark, a business row and an outgoing message, in one transaction with up to 63 others, on the disk
//! when it commits. What is asked of it is a share of the bare loop's speed, so a bound on time is the share's inverse.

use crate::{
    bare,
    harness::{Bound, Candidate, Plan, Report, Sample, measure},
};
use catga::{
    App, Capabilities, Envelope, Error, Event, MessageId, Outcome, Parcel, Registration, Result, State, StoreId, Str,
    SubscribeOptions, Transport, Tx,
    memory::Memory,
    sqlite::{
        Sqlite,
        rusqlite::{Connection, params},
    },
};
use catga_buf::CountingAlloc;
use serde::{Deserialize, Serialize};
use std::{
    cell::RefCell,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{runtime::Runtime, sync::Notify};

const BARE: &str = "bare rusqlite loop";
const QUEUE: &str = "Tx<Sqlite>, fed from its own queue";
const MEMORY: &str = "Tx<Sqlite>, fed from memory";
const FULL: &str = "the same with old marks in the file";
/// Effects of one transaction.
const BATCH: usize = 64;
/// Allocations of an effect, at most.
const ALLOCATIONS: f64 = 8.0;

/// At least 0.30 of the bare loop from the queue in the same file, and 0.45 from memory; with millions of marks at least
/// 0.9 of without.
pub const BOUNDS: &[Bound] = &[
    Bound::times(QUEUE, 1.0 / 0.30, BARE),
    Bound::times(MEMORY, 1.0 / 0.45, BARE),
    Bound::times(FULL, 1.0 / 0.9, QUEUE),
];

const SCHEMA: &str = "CREATE TABLE orders (
    id INTEGER PRIMARY KEY, sku TEXT NOT NULL, quantity INTEGER NOT NULL, price INTEGER NOT NULL) STRICT";

/// Somebody orders something.
#[derive(Debug, Event, Clone, Serialize, Deserialize)]
#[catga(name = "bench.order")]
struct Order {
    number: i64,
    sku: String,
    quantity: u32,
    price: u32,
}

/// It is ordered.
#[derive(Debug, Event, Clone, Serialize, Deserialize)]
#[catga(name = "bench.ordered")]
struct Ordered {
    number: i64,
    price: u32,
}

/// A message of the bare loop.
#[derive(Debug)]
pub struct Row {
    /// Its id.
    pub id: MessageId,
    /// The number of its order.
    pub number: i64,
    /// What is ordered.
    pub sku: &'static str,
}

const SKU: &str = "SKU-000000000017";

async fn order(order: Order, mut tx: Tx<Sqlite>, done: State<Done>) -> Result<()> {
    let Order { number, sku, quantity, price } = order;
    let sql = "INSERT INTO orders (id, sku, quantity, price) VALUES (?1, ?2, ?3, ?4)";
    tx.execute(sql, (number, sku, quantity, price))?;
    tx.publish(Ordered { number, price })?;
    done.one();
    Ok(())
}

/// Counts handlers down and wakes who waits for the last.
#[derive(Clone, Default)]
struct Done(Arc<(AtomicU64, Notify)>);

impl Done {
    fn one(&self) {
        if self.0.0.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.1.notify_one();
        }
    }
}

/// Feeds a consumer and lets nothing out: what effects publish stays in the outbox, where the bare loop leaves it.
struct Inward<T>(T);

impl<T: Transport> Transport for Inward<T> {
    type Subscription = T::Subscription;

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }
    fn shares(&self) -> Option<StoreId> {
        self.0.shares()
    }
    async fn register(&self, consumers: &[Registration]) -> Result<()> {
        self.0.register(consumers).await
    }
    async fn publish(&self, _: &[Parcel], _: &mut Vec<Outcome>) -> Result<()> {
        std::future::pending().await
    }
    async fn subscribe(&self, options: SubscribeOptions) -> Result<T::Subscription> {
        self.0.subscribe(options).await
    }
    async fn unsettled(&self, consumer: &Str) -> Result<u64> {
        self.0.unsettled(consumer).await
    }
}

/// An application whose effects are measured, and what feeds it.
struct Fed<T> {
    runtime: Runtime,
    app: App,
    feed: T,
    done: Done,
    number: i64,
}

impl<T: Transport + Clone> Fed<T> {
    fn new(runtime: Runtime, store: Sqlite, feed: T) -> Result<Self> {
        let done = Done::default();
        let app = App::builder("bench").store(store).transport(Inward(feed.clone())).state(done.clone());
        let app = runtime.block_on(app.on("effects", order).build())?;
        let number = 0;
        Ok(Self { runtime, app, feed, done, number })
    }

    /// Queues so many messages, then measures until the effects of all are on the disk.
    fn run(&mut self, effects: u64) -> Result<Sample> {
        let mut parcels = Vec::new();
        for _ in 0..effects {
            self.number += 1;
            parcels.push(self.parcel()?);
        }
        self.runtime.block_on(async {
            for parcels in parcels.chunks(256) {
                self.feed.publish(parcels, &mut Vec::new()).await?;
            }
            Ok::<_, Error>(())
        })?;
        drop(parcels);
        self.done.0.0.store(effects, Ordering::SeqCst);
        let mut outcome = Ok(Duration::ZERO);
        let counted = CountingAlloc::count(|| outcome = self.runtime.block_on(self.work()));
        Ok(Sample { elapsed: outcome?, allocations: counted.count, bytes: counted.bytes })
    }

    async fn work(&self) -> Result<Duration> {
        let (began, consumer) = (Instant::now(), Str::from_static("bench.effects"));
        let worked = async {
            self.done.0.1.notified().await;
            // The last handlers have run; their commit is under way.
            while self.feed.unsettled(&consumer).await? > 0 {
                tokio::time::sleep(Duration::from_micros(50)).await;
            }
            Ok(began.elapsed())
        };
        tokio::select! {
            biased;
            worked = worked => worked,
            ended = self.app.run(std::future::pending()) => ended.map(|()| Duration::ZERO),
        }
    }

    fn parcel(&self) -> Result<Parcel> {
        let order = Order { number: self.number, sku: SKU.into(), quantity: 2, price: 1_250 };
        let payload = serde_json::to_vec(&order)?;
        let envelope = Envelope::new(MessageId::new(), "bench.order".into(), "json".into(), payload.into());
        Ok(Parcel::new("catga.bench.order".into(), envelope.id, envelope.encode()?.into()))
    }
}

fn runtime() -> Result<Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_time().build()?)
}

fn store(runtime: &Runtime, path: &Path) -> Result<Sqlite> {
    runtime.block_on(async { Sqlite::open(path).await?.migrate(&[SCHEMA]).await })
}

/// Measures them; with `marks` above 0, also in a file that holds so many. An effect takes its disk's time, so turns are
/// at least 200 ms and rounds at most 15.
///
/// # Errors
///
/// What SQLite answers; with `gate`, where an effect allocates more than 8 times.
pub fn run(plan: Plan, marks: u64, gate: bool) -> Result<Report> {
    let plan = Plan { rounds: plan.rounds.min(15), turn: plan.turn.max(Duration::from_millis(200)), ..plan.clone() };
    let folder = tempfile::tempdir()?;
    let [bare_path, queue_path, memory_path, full_path] =
        ["bare.db", "queue.db", "memory.db", "full.db"].map(|name| folder.path().join(name));
    drop(store(&runtime()?, &bare_path)?);
    let mut bare = bare::Effects::open(&bare_path, 1)?;
    let fed = |path: &Path| {
        let runtime = runtime()?;
        let store = store(&runtime, path)?;
        Fed::new(runtime, store.clone(), store)
    };
    let memory = {
        let runtime = runtime()?;
        let store = store(&runtime, &memory_path)?;
        // All of a turn's messages are there before it begins.
        RefCell::new(Fed::new(runtime, store, Memory::new().capacity((1 << 24) - 1)?)?)
    };
    let (queue, mut number) = (RefCell::new(fed(&queue_path)?), 0);
    let frame = queue.borrow().parcel()?.frame;
    let full = (marks > 0).then(|| fed(&full_path)).transpose()?.map(RefCell::new);
    if full.is_some() {
        fill(&full_path, marks)?;
    }
    let mut candidates = vec![
        Candidate::new(BARE, move |effects| {
            let rows = (0..effects).map(|at| Row { id: MessageId::new(), number: number + at as i64 + 1, sku: SKU });
            let rows: Vec<Row> = rows.collect();
            number += effects as i64;
            let (mut outcome, began) = (Ok(()), Instant::now());
            let counted = CountingAlloc::count(|| outcome = bare.write(&rows, BATCH, &frame));
            outcome?;
            Ok(Sample { elapsed: began.elapsed(), allocations: counted.count, bytes: counted.bytes })
        }),
        Candidate::new(QUEUE, |effects| queue.borrow_mut().run(effects)),
        Candidate::new(MEMORY, |effects| memory.borrow_mut().run(effects)),
    ];
    if let Some(full) = &full {
        candidates.push(Candidate::new(FULL, |effects| full.borrow_mut().run(effects)));
    }
    let report = measure(plan, candidates, BOUNDS)?;
    let most = report.figures.iter().map(|figure| figure.allocations).fold(0.0, f64::max);
    if gate && most > ALLOCATIONS {
        return Err(Error::permanent(format!("an effect allocates {most:.2} times; at most {ALLOCATIONS}")));
    }
    Ok(report)
}

/// Writes old marks.
fn fill(path: &Path, marks: u64) -> Result<()> {
    let mut connection = Connection::open(path)?;
    let transaction = connection.transaction()?;
    {
        let now = std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_micros() as i64);
        let mut insert = transaction.prepare("INSERT INTO catga_inbox (consumer, id, at) VALUES (1, ?1, ?2)")?;
        for _ in 0..marks {
            insert.execute(params![MessageId::new().to_bytes(), now])?;
        }
    }
    Ok(transaction.commit()?)
}
