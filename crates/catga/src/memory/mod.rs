//! A store and queue in this process's memory: for tests, for programs without a disk, and where what is lost with the
//! process may be lost.
//!
//! It keeps every promise that the file of `catga::sqlite` keeps but for the process's death: what a handler publishes,
//! its mark and its acknowledgement are one commit, and what was not settled comes again. [`Memory`] is the one handle.
//!
//! # Layout
//!
//! | module | holds |
//! |---|---|
//! | `slots`, `lane`, `ring` | what waits for one consumer, and the order of its keys, as pure state |
//! | `line`, `queue` | its lock, and who waits for it |
//! | `hub`, `transport` | which subject leads where; publishing and subscribing |
//! | `turn`, `tx`, `unit` | the one writer's turn, what a transaction wrote, and its commit |
//! | `inbox`, `outbox`, `events`, `letters` | the parts of the store |

mod events;
mod hub;
mod inbox;
mod lane;
mod letters;
mod line;
mod outbox;
mod queue;
mod ring;
mod slots;
mod transport;
mod turn;
mod tx;
mod unit;

pub use self::{
    inbox::MemoryClaim,
    transport::{MemorySettler, MemorySubscription},
    tx::MemoryTx,
};

use self::{events::Events, hub::Hub, inbox::Inboxes, letters::Letters, outbox::Outboxes, turn::Turns};
use catga_contract::{Error, ErrorKind, Result, StoreId, Str};
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};
use tokio::{sync::Notify, time::Instant};

/// The largest frame, in bytes: 16 MiB.
const MAX_FRAME: usize = 16 * 1024 * 1024;

/// A store and queue in memory. Cheap to clone: clones are handles of one store, which ends with the last of them.
///
/// It is a [`Transport`](crate::Transport), a [`UnitOfWork`](crate::UnitOfWork) with its [`Outbox`](crate::Outbox), an
/// [`Inbox`](crate::Inbox), an event store and a keeper of [`DeadLetters`](crate::DeadLetters), as a file is:
///
/// ```
/// use catga::{App, Event, Request, State, Tx, memory::Memory};
/// use std::sync::Mutex;
/// # use serde::{Deserialize, Serialize};
///
/// #[derive(Request, Serialize, Deserialize)]
/// #[catga(name = "orders.place")]
/// struct Place(u64);
///
/// #[derive(Event, Clone, Serialize, Deserialize)]
/// #[catga(name = "orders.placed")]
/// struct Placed(u64);
///
/// async fn place(Place(id): Place, mut tx: Tx<Memory>) -> catga::Result<()> {
///     tx.publish(Placed(id))?; // leaves with the commit, or not at all
///     Ok(())
/// }
///
/// async fn mail(Placed(id): Placed, sent: State<Mutex<Vec<u64>>>) -> catga::Result<()> {
///     sent.lock().unwrap().push(id);
///     Ok(())
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> catga::Result<()> {
/// let app = App::builder("shop").store(Memory::new()).state(Mutex::new(Vec::<u64>::new()));
/// let app = app.handle(place).on("mail", mail).build().await?;
/// app.send(Place(7)).await?;
/// app.run_until_idle().await
/// # }
/// ```
///
/// # What is bounded
///
/// | what | default | beyond it |
/// |---|---|---|
/// | messages of one consumer, from publishing until they are settled, those that wait for a time or for a human included | 65,536, see [`capacity`](Self::capacity) | publishing waits, in the order in which publishers came |
/// | outbox rows | 1,048,576 | a transaction that writes one more is refused, [`ErrorKind::Unavailable`] |
/// | marks of one consumer, with the answers kept beside them | 1,048,576 and 7 days, see [`keep_marks`](Self::keep_marks) | the oldest go |
/// | dead letters | 65,536 | burying is refused, [`ErrorKind::Unavailable`]: the delivery comes again |
/// | events | 16,777,216 | appending is refused, [`ErrorKind::Unavailable`] |
/// | one frame | 16 MiB | [`ErrorKind::Invalid`] |
/// | consumers | 65,535 | [`ErrorKind::Invalid`] |
///
/// # Time
///
/// Every wait is a wait of tokio's clock, so that a test with `#[tokio::test(start_paused = true)]` drives all of them:
/// pauses, due messages, leases, ages. A time of day at which a message is [due](crate::PublishOptions::due) becomes a
/// wait when it is published. Nothing is spawned.
pub struct Memory {
    shared: Arc<Shared>,
    relay: Relay,
}

/// Who asks for partitions of the outbox: each handle is one relay's.
struct Relay {
    id: u64,
    /// How often the outbox had rung when it was last read.
    heard: AtomicU64,
}

struct Shared {
    id: StoreId,
    hub: Hub,
    turns: Turns,
    store: Mutex<Store>,
    /// Rows were committed to the outbox.
    written: Notify,
    /// Events were committed.
    appended: Notify,
    relays: AtomicU64,
}

/// What a commit changes; under one lock, so that it changes at once.
///
/// Queues have locks of their own, which are taken after this one.
#[derive(Default)]
struct Store {
    inboxes: Inboxes,
    outbox: Outboxes,
    events: Events,
    letters: Letters,
}

impl Memory {
    /// An empty store.
    pub fn new() -> Self {
        let shared = Shared {
            id: StoreId::fresh(),
            hub: Hub::default(),
            turns: Turns::default(),
            store: Mutex::default(),
            written: Notify::new(),
            appended: Notify::new(),
            relays: AtomicU64::new(0),
        };
        Self::of(Arc::new(shared))
    }

    /// How many messages one consumer may have, from publishing until they are settled: 1 to 16,777,215, default 65,536.
    /// Beyond it publishing waits, also a relay's. It counts for consumers that are registered from here on. A batch
    /// that is larger than all of it gets in when the consumer has no messages.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] where it is out of bounds.
    pub fn capacity(self, messages: usize) -> Result<Self> {
        if !(1..1 << slots::BITS).contains(&messages) {
            let text = format!("a capacity of {messages} messages; 1 to {}", (1 << slots::BITS) - 1);
            return Err(Error::new(ErrorKind::Invalid, text));
        }
        self.shared.hub.set_capacity(messages);
        Ok(self)
    }

    /// How long the marks of what was handled stay, and how many of one consumer: 1 to 1,073,741,824 marks for a minute
    /// to ten years; default 1,048,576 for 7 days. A message that comes once more after its mark went is handled once
    /// more.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] where either is out of bounds.
    pub fn keep_marks(self, time: Duration, most: usize) -> Result<Self> {
        if !(60..=10 * 366 * 24 * 60 * 60).contains(&time.as_secs()) || !(1..=1 << 30).contains(&most) {
            let text = format!("{most} marks cannot be kept for {time:?}; 1 to 1073741824 for a minute to ten years");
            return Err(Error::new(ErrorKind::Invalid, text));
        }
        self.store().inboxes.keep(time, most);
        Ok(self)
    }

    /// How many events were published to this subject while no consumer was registered for it: nothing keeps those.
    /// 1,024 subjects are told apart; those beyond count together, as that of the empty subject.
    pub fn unheard(&self, subject: &str) -> u64 {
        self.shared.hub.unheard(subject)
    }

    /// Removes a consumer by its durable name, such as `shop.mail`, with everything that waits for it; answers how many
    /// messages that were. Its marks stay: should it come back, what it handled is not handled again.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] where there is none, [`ErrorKind::Busy`] where it is running.
    pub fn remove_consumer(&self, consumer: &str) -> Result<usize> {
        self.shared.hub.remove(consumer)
    }

    fn of(shared: Arc<Shared>) -> Self {
        let id = shared.relays.fetch_add(1, Ordering::Relaxed);
        Self { shared, relay: Relay { id, heard: AtomicU64::new(0) } }
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.shared.store()
    }
}

impl Shared {
    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl Clone for Memory {
    fn clone(&self) -> Self {
        Self::of(self.shared.clone())
    }
}

impl Drop for Memory {
    /// What it leased goes to other relays at once.
    fn drop(&mut self) {
        if self.store().outbox.leave(self.relay.id) {
            self.shared.written.notify_waiters();
        }
    }
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memory").field("id", &self.shared.id).finish_non_exhaustive()
    }
}

/// That long from now, or further away than anybody waits where the clock has no such time.
fn later(wait: Duration) -> Instant {
    const YEARS: Duration = Duration::from_secs(100 * 366 * 24 * 60 * 60);
    let now = Instant::now();
    now.checked_add(wait).unwrap_or_else(|| now + YEARS)
}

/// When what is due at a time of day comes; `None` is now.
fn moment(due: Option<SystemTime>) -> Option<Instant> {
    due?.duration_since(SystemTime::now()).ok().filter(|wait| !wait.is_zero()).map(later)
}

/// Refuses what is larger than the store keeps.
fn check_size(what: &str, name: &str, size: usize) -> Result<()> {
    if size <= MAX_FRAME {
        return Ok(());
    }
    let text = format!("{what} of {size} bytes for `{name}`; this store keeps at most {MAX_FRAME}");
    Err(Error::new(ErrorKind::Invalid, text))
}

/// Refuses what there is too much of.
fn check_room(what: &str, count: usize, most: usize) -> Result<()> {
    if count <= most {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Unavailable, format!("this store keeps at most {most} {what}")))
}

/// A text of its own, so that what is kept pins nothing.
fn owned(text: &str) -> Str {
    Str::from(text)
}
