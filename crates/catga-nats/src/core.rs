//! Core NATS: at most once.

use crate::{
    Dotnet, Nats, TransportOptions,
    error::unavailable,
    frame,
    names::token,
    transport::{Subjects, refuse},
};
use async_nats::Subscriber;
use catga_contract::{
    Delivery, Error, ErrorKind, MessageId, Outcome, Parcel, Registration, Result, Settle, Str, Token,
};
use futures_util::{FutureExt, StreamExt, future::select_all};
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};
use tokio::{
    sync::Notify,
    time::{Instant as Timer, sleep_until, timeout},
};

pub(crate) struct Core {
    pub(crate) nats: Nats,
    options: TransportOptions,
    subjects: Subjects,
    consumers: Mutex<HashMap<Str, Consumer>>,
}

struct Consumer {
    subjects: Vec<Str>,
    /// Opened when it was registered, so that nothing is missed until somebody subscribes.
    waiting: Option<Vec<Subscriber>>,
    desk: Arc<Desk>,
}

/// What came and is not done with, of one consumer in this process.
#[derive(Default)]
struct Desk {
    inner: Mutex<Inner>,
    changed: Notify,
}

#[derive(Default)]
struct Inner {
    /// What is with a handler.
    out: HashMap<u64, Held>,
    /// What shall come again, and when.
    again: Vec<(Instant, Held)>,
    tokens: u64,
}

struct Held {
    frame: bytes::Bytes,
    tries: u32,
}

impl Desk {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hand_out(&self, held: Held) -> Delivery {
        let mut inner = self.inner();
        inner.tokens += 1;
        let token = inner.tokens;
        let delivery = Delivery::new(Token(token), held.frame.clone(), held.tries);
        inner.out.insert(token, held);
        delivery
    }

    /// What is due again, and when the next is.
    fn due(&self, most: usize) -> (Vec<Held>, Option<Instant>) {
        let (mut inner, now) = (self.inner(), Instant::now());
        let mut due = Vec::new();
        while due.len() < most
            && let Some(at) = inner.again.iter().position(|(when, _)| *when <= now)
        {
            due.push(inner.again.remove(at).1);
        }
        (due, inner.again.iter().map(|(when, _)| *when).min())
    }
}

impl Core {
    pub(crate) fn new(nats: Nats, options: TransportOptions) -> Self {
        Self { nats, options, subjects: Subjects::default(), consumers: Mutex::default() }
    }

    fn consumers(&self) -> MutexGuard<'_, HashMap<Str, Consumer>> {
        self.consumers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) async fn register(&self, consumers: &[Registration]) -> Result<()> {
        for Registration { consumer, subjects, .. } in consumers {
            if self.consumers().contains_key(consumer) {
                continue;
            }
            let waiting = Some(self.open(consumer, subjects).await?);
            let consumer_state = Consumer { subjects: subjects.clone(), waiting, desk: Arc::default() };
            self.consumers().insert(consumer.clone(), consumer_state);
        }
        Ok(())
    }

    async fn open(&self, consumer: &Str, subjects: &[Str]) -> Result<Vec<Subscriber>> {
        let mut subscribers = Vec::with_capacity(subjects.len());
        let dotnet = self.options.dotnet.as_ref();
        let wire = |subject: &Str| dotnet.map_or_else(|| subject.to_string(), |dotnet| dotnet.subject(subject));
        for subject in subjects {
            let subscriber = self.nats.client.queue_subscribe(wire(subject), token(consumer)).await;
            subscribers
                .push(subscriber.map_err(|error| unavailable(error, format_args!("subscribing to `{subject}`")))?);
        }
        self.barrier().await?;
        Ok(subscribers)
    }

    /// Returns when the server has read everything that this connection sent before: it answers a request to oneself,
    /// and it reads a connection in order. A flush only empties a buffer.
    async fn barrier(&self) -> Result<()> {
        let doing = "waiting for the server";
        let inbox = self.nats.client.new_inbox();
        let asked = async {
            let mut answer =
                self.nats.client.subscribe(inbox.clone()).await.map_err(|error| unavailable(error, doing))?;
            self.nats.client.publish(inbox, bytes::Bytes::new()).await.map_err(|error| unavailable(error, doing))?;
            answer.next().await;
            Ok(())
        };
        timeout(self.nats.request_timeout, asked).await.unwrap_or_else(|_| Err(unavailable("no answer", doing)))
    }

    pub(crate) async fn publish(&self, parcels: &[Parcel], outcomes: &mut Vec<Outcome>) -> Result<()> {
        for parcel in parcels {
            outcomes.push(match refuse(parcel, &self.nats) {
                Some(error) => Outcome::Refused(error),
                None => self.publish_one(parcel).await,
            });
        }
        // One flush: what was written leaves this process.
        if let Err(error) = timeout(self.options.publish_timeout, self.nats.client.flush()).await {
            self.nats.count_dropped(parcels.len() as u64);
            tracing::warn!(%error, "core NATS: the messages may not have left");
        }
        Ok(())
    }

    async fn publish_one(&self, parcel: &Parcel) -> Outcome {
        // While it is down the client would queue and say that all is well.
        if !self.nats.is_connected() {
            self.nats.count_dropped(1);
            return Outcome::Refused(unavailable("not connected; the message is dropped", "publishing"));
        }
        let (subject, payload, headers) = match frame::address(parcel, &self.options) {
            Ok((subject, payload, headers)) => (subject.map(Str::from), payload, headers),
            Err(error) => return Outcome::Refused(error),
        };
        let subject = self.subjects.get(subject.as_ref().unwrap_or(&parcel.subject));
        let client = &self.nats.client;
        let sending = async {
            match headers.is_empty() {
                true => client.publish(subject, payload).await,
                false => client.publish_with_headers(subject, headers, payload).await,
            }
        };
        match timeout(self.options.publish_timeout, sending).await {
            Ok(Ok(())) => Outcome::Stored,
            Ok(Err(error)) => Outcome::Refused(Error::new(ErrorKind::Invalid, error).context("publishing")),
            Err(_) => {
                self.nats.count_dropped(1);
                Outcome::Refused(unavailable("the connection takes nothing; the message is dropped", "publishing"))
            }
        }
    }

    pub(crate) async fn subscribe(&self, name: &Str) -> Result<CoreSubscription> {
        let (subjects, waiting, desk) = {
            let mut consumers = self.consumers();
            let Some(consumer) = consumers.get_mut(name) else {
                return Err(Error::new(ErrorKind::NotFound, format!("consumer `{name}` is not registered")));
            };
            (consumer.subjects.clone(), consumer.waiting.take(), consumer.desk.clone())
        };
        let subscribers = match waiting {
            Some(subscribers) => subscribers,
            None => self.open(name, &subjects).await?,
        };
        Ok(CoreSubscription {
            name: name.clone(),
            subscribers,
            arrived: VecDeque::new(),
            desk,
            dotnet: self.options.dotnet.clone(),
        })
    }

    pub(crate) fn subjects(&self, name: &Str) -> Vec<Str> {
        self.consumers().get(name).map(|consumer| consumer.subjects.clone()).unwrap_or_default()
    }

    /// What this process has of a consumer's messages; what others have, nobody knows.
    pub(crate) fn unsettled(&self, name: &Str) -> u64 {
        self.consumers().get(name).map_or(0, |consumer| {
            let inner = consumer.desk.inner();
            (inner.out.len() + inner.again.len()) as u64
        })
    }
}

/// A member of a consumer on core NATS.
pub(crate) struct CoreSubscription {
    name: Str,
    subscribers: Vec<Subscriber>,
    arrived: VecDeque<async_nats::Message>,
    desk: Arc<Desk>,
    dotnet: Option<Dotnet>,
}

impl CoreSubscription {
    pub(crate) async fn next_batch(&mut self, most: usize, deliveries: &mut Vec<Delivery>) -> Result<()> {
        let most = most.max(1);
        let before = deliveries.len();
        loop {
            let (due, next) = self.desk.due(most);
            deliveries.extend(due.into_iter().map(|held| self.desk.hand_out(held)));
            self.take(most - (deliveries.len() - before), deliveries);
            if deliveries.len() > before {
                return Ok(());
            }
            let changed = self.desk.changed.notified();
            let pause = async {
                match next {
                    Some(due) => sleep_until(Timer::from_std(due)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                arrived = select_all(self.subscribers.iter_mut().map(|one| one.next())) => match arrived.0 {
                    Some(message) => self.arrived.push_back(message),
                    None => return Err(unavailable("the connection was closed", format_args!("consumer `{}`", self.name))),
                },
                () = changed => {}
                () = pause => {}
            }
        }
    }

    fn take(&mut self, most: usize, deliveries: &mut Vec<Delivery>) {
        for subscriber in &mut self.subscribers {
            while self.arrived.len() < most
                && let Some(Some(message)) = subscriber.next().now_or_never()
            {
                self.arrived.push_back(message);
            }
        }
        for _ in 0..most {
            let Some(message) = self.arrived.pop_front() else { return };
            if frame::to(&message).is_none_or(|to| self.name == to) {
                deliveries.push(self.desk.hand_out(Held { frame: self.read(&message), tries: 0 }));
            }
        }
    }

    fn read(&self, message: &async_nats::Message) -> bytes::Bytes {
        // Nothing tells a second delivery from another message here: an id that is missing is made up.
        frame::read(message, self.dotnet.as_ref(), MessageId::new())
    }

    pub(crate) fn settler(&self) -> CoreSettler {
        CoreSettler(self.desk.clone())
    }
}

/// Answers deliveries within this process: nobody else has them.
#[derive(Clone)]
pub(crate) struct CoreSettler(Arc<Desk>);

impl CoreSettler {
    pub(crate) fn settle(&self, answers: &[(Token, Settle)]) {
        let mut inner = self.0.inner();
        for (token, answer) in answers {
            let Some(mut held) = inner.out.remove(&token.0) else { continue };
            if let Settle::Again { pause, counts } = answer {
                held.tries += u32::from(*counts);
                inner.again.push((Instant::now() + *pause, held));
            }
        }
        drop(inner);
        self.0.changed.notify_waiters();
        self.0.changed.notify_one();
    }
}
