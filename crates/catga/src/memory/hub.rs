//! Which subject leads to which consumers.

use super::queue::Queue;
use catga_contract::{Error, ErrorKind, Parcel, Registration, Result, Str};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
};

/// How many subjects that nobody is registered for are told apart.
const UNHEARD: usize = 1_024;
const CAPACITY: usize = 65_536;

/// The queues that a subject leads to, by rising number.
pub(super) type Route = Arc<[Arc<Queue>]>;

pub(super) struct Hub {
    routes: RwLock<Routes>,
    capacity: AtomicUsize,
    unheard: Mutex<HashMap<Str, u64>>,
}

#[derive(Default)]
struct Routes {
    by_subject: HashMap<Str, Route>,
    by_name: HashMap<Str, Route>,
    /// By number; gaps are consumers that were removed.
    by_id: Vec<Option<Arc<Queue>>>,
}

impl Default for Hub {
    fn default() -> Self {
        Self { routes: RwLock::default(), capacity: AtomicUsize::new(CAPACITY), unheard: Mutex::default() }
    }
}

impl Hub {
    pub(super) fn set_capacity(&self, messages: usize) {
        self.capacity.store(messages, Ordering::Relaxed);
    }

    /// Adds consumers and their subjects; what is known stays.
    pub(super) fn register(&self, consumers: &[Registration]) -> Result<()> {
        let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        for Registration { consumer, subjects, .. } in consumers {
            let queue = match routes.by_name.get(consumer) {
                Some(known) => known[0].clone(),
                None => routes.add(consumer, self.capacity.load(Ordering::Relaxed))?,
            };
            for subject in subjects {
                routes.lead(subject, &queue);
            }
        }
        Ok(())
    }

    /// Where a parcel goes; `None` where nobody is registered for it.
    pub(super) fn route(&self, parcel: &Parcel) -> Result<Option<Route>> {
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        match &parcel.to {
            None => Ok(routes.by_subject.get(&parcel.subject).cloned()),
            Some(consumer) => match routes.by_name.get(consumer) {
                Some(route) => Ok(Some(route.clone())),
                None => Err(unknown(consumer)),
            },
        }
    }

    pub(super) fn queue(&self, consumer: &str) -> Option<Arc<Queue>> {
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        routes.by_name.get(consumer).map(|route| route[0].clone())
    }

    pub(super) fn queue_by_id(&self, id: u16) -> Option<Arc<Queue>> {
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        routes.by_id.get(usize::from(id))?.clone()
    }

    /// Whether any subject leads to that consumer.
    pub(super) fn takes(&self, consumer: &str) -> bool {
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        routes.by_subject.values().any(|route| route.iter().any(|queue| queue.name == *consumer))
    }

    pub(super) fn remove(&self, consumer: &str) -> Result<usize> {
        let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        let Some(queue) = routes.by_name.get(consumer).map(|route| route[0].clone()) else {
            return Err(unknown(consumer));
        };
        let Some(gone) = queue.close() else {
            let text = format!("consumer `{consumer}` is running; stop it first");
            return Err(Error::new(ErrorKind::Busy, text));
        };
        routes.remove(&queue);
        Ok(gone)
    }

    /// Counts an event that nobody is registered for, and says so once for each subject.
    pub(super) fn count_unheard(&self, subject: &Str) {
        let mut unheard = self.unheard.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = unheard.get_mut(subject) {
            *count += 1;
            return;
        }
        tracing::warn!(%subject, "an event was published that no consumer is registered for; nothing keeps it");
        let subject = if unheard.len() < UNHEARD { super::owned(subject) } else { Str::default() };
        *unheard.entry(subject).or_default() += 1;
    }

    pub(super) fn unheard(&self, subject: &str) -> u64 {
        let unheard = self.unheard.lock().unwrap_or_else(PoisonError::into_inner);
        unheard.get(subject).copied().unwrap_or_default()
    }
}

impl Routes {
    fn add(&mut self, consumer: &Str, capacity: usize) -> Result<Arc<Queue>> {
        let Ok(id) = u16::try_from(self.by_id.len()) else {
            let text = format!("consumer `{consumer}` would be one too many; a store holds 65,536 in its life");
            return Err(Error::new(ErrorKind::Invalid, text));
        };
        let queue = Arc::new(Queue::new(id, super::owned(consumer), capacity));
        self.by_id.push(Some(queue.clone()));
        self.by_name.insert(queue.name.clone(), [queue.clone()].into());
        Ok(queue)
    }

    fn lead(&mut self, subject: &Str, queue: &Arc<Queue>) {
        let route = self.by_subject.get(subject).map(|route| route.to_vec()).unwrap_or_default();
        if route.iter().any(|other| other.id == queue.id) {
            return;
        }
        let mut route = route;
        route.push(queue.clone());
        route.sort_by_key(|queue| queue.id);
        self.by_subject.insert(super::owned(subject), route.into());
    }

    fn remove(&mut self, queue: &Arc<Queue>) {
        self.by_id[usize::from(queue.id)] = None;
        self.by_name.remove(&queue.name);
        self.by_subject.retain(|_, route| {
            *route = route.iter().filter(|other| other.id != queue.id).cloned().collect();
            !route.is_empty()
        });
    }
}

fn unknown(consumer: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no consumer `{consumer}`"))
}
