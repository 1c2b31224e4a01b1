//! What is out, and how it is answered.

use crate::{
    core::CoreSettler,
    error::unavailable,
    transport::JetStream,
    tries::{self, Tries},
};
use async_nats::{Subject, jetstream::AckKind};
use bytes::Bytes;
use catga_contract::{Result, Settle, Settler, Str, Token};
use futures_util::FutureExt;
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
    time::{Duration, Instant, SystemTime},
};

/// What a JetStream subscription, its settlers and its heart share.
pub(crate) struct Desk {
    pub(crate) jetstream: Arc<JetStream>,
    pub(crate) consumer: Str,
    /// When the stream was made, in seconds since 1970: its numbers begin anew with it.
    pub(crate) made: AtomicU64,
    /// Up to which number the server knows everything as done with.
    pub(crate) floor: AtomicU64,
    out: Mutex<Out>,
}

#[derive(Default)]
struct Out {
    by_token: HashMap<u64, Held>,
    by_sequence: HashMap<u64, u64>,
    tokens: u64,
}

/// A message that came and is not answered.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) reply: Subject,
    pub(crate) sequence: u64,
    /// The server's number of this delivery, from 1.
    pub(crate) delivery: u64,
    /// How many tries count, the one at hand aside; one that was counted before it started is in it.
    pub(crate) count: u32,
    /// Whether the try at hand was counted before it started.
    pub(crate) counted: bool,
    pub(crate) first: SystemTime,
    pub(crate) since: Instant,
}

impl Desk {
    pub(crate) fn new(jetstream: Arc<JetStream>, consumer: Str, made: u64, floor: u64) -> Self {
        Self { jetstream, consumer, made: made.into(), floor: floor.into(), out: Mutex::default() }
    }

    fn out(&self) -> MutexGuard<'_, Out> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what arrived; `None` where the message is here already, and not for too long: the server has lost patience,
    /// as after a stop of this process, but the handler is at it. Its answer goes to the newest delivery.
    pub(crate) fn arrive(&self, reply: Subject, sequence: u64, delivery: u64, patience: Duration) -> Option<u64> {
        let mut out = self.out();
        if let Some(token) = out.by_sequence.get(&sequence).copied()
            && let Some(held) = out.by_token.get_mut(&token)
            && held.since.elapsed() < patience
        {
            (held.reply, held.delivery) = (reply, delivery);
            return None;
        }
        out.tokens += 1;
        let token = out.tokens;
        let held = Held {
            reply,
            sequence,
            delivery,
            count: 0,
            counted: false,
            first: SystemTime::now(),
            since: Instant::now(),
        };
        out.by_token.insert(token, held);
        out.by_sequence.insert(sequence, token);
        Some(token)
    }

    pub(crate) fn change(&self, token: u64, change: impl FnOnce(&mut Held)) {
        if let Some(held) = self.out().by_token.get_mut(&token) {
            change(held);
        }
    }

    pub(crate) fn get(&self, token: u64) -> Option<Held> {
        self.out().by_token.get(&token).cloned()
    }

    pub(crate) fn forget(&self, token: u64) {
        let mut out = self.out();
        if let Some(held) = out.by_token.remove(&token)
            && out.by_sequence.get(&held.sequence) == Some(&token)
        {
            out.by_sequence.remove(&held.sequence);
        }
    }

    /// The replies of what is out and may stay out.
    pub(crate) fn beating(&self, patience: Duration) -> Vec<Subject> {
        let out = self.out();
        let held = out.by_token.values().filter(|held| held.since.elapsed() < patience);
        held.map(|held| held.reply.clone()).collect()
    }

    /// Gives everything back at once, as far as the connection takes it without waiting; the rest comes again when the
    /// server loses patience. Late answers are still taken.
    pub(crate) fn give_back(&self) {
        let (client, replies) = (&self.jetstream.nats.client, self.beating(Duration::MAX));
        for reply in replies {
            if client.publish(reply, payload(AckKind::Nak(None))).now_or_never().is_none() {
                break;
            }
        }
    }

    pub(crate) fn key(&self, sequence: u64) -> String {
        let made = self.made.load(std::sync::atomic::Ordering::Relaxed);
        tries::key(&self.consumer, made as i64, sequence)
    }

    /// Answers without waiting for the server.
    pub(crate) async fn answer(&self, reply: Subject, kind: AckKind) -> Result<()> {
        let sent = self.jetstream.nats.client.publish(reply, payload(kind));
        match tokio::time::timeout(self.jetstream.nats.request_timeout, sent).await {
            Ok(sent) => sent.map_err(|error| unavailable(error, "answering a delivery")),
            Err(_) => Err(unavailable("the connection takes nothing", "answering a delivery")),
        }
    }

    async fn settle(&self, answers: &[(Token, Settle)]) -> Result<()> {
        let mut last = None;
        for (Token(token), answer) in answers {
            let Some(held) = self.get(*token) else { continue };
            let kind = match answer {
                Settle::Done => AckKind::Ack,
                Settle::Bury => AckKind::Term,
                Settle::Again { pause, counts } => {
                    self.count(&held, *counts).await?;
                    AckKind::Nak(Some(*pause).filter(|pause| !pause.is_zero()))
                }
            };
            if let Some((reply, kind)) = last.replace((held.reply.clone(), kind)) {
                self.answer(reply, kind).await?;
            }
        }
        // The server reads a connection in order: when it confirms the last answer, it has them all.
        if let Some((reply, kind)) = last {
            self.confirm(reply, kind).await?;
        }
        answers.iter().for_each(|(Token(token), _)| self.forget(*token));
        Ok(())
    }

    /// Writes down how many tries count, before the message is given back.
    async fn count(&self, held: &Held, counts: bool) -> Result<()> {
        let count = held.count - u32::from(held.counted) + u32::from(counts);
        let tries = Tries { count, delivery: held.delivery, first: held.first };
        tries::save(&self.jetstream.tries, &self.key(held.sequence), tries).await
    }

    async fn confirm(&self, reply: Subject, kind: AckKind) -> Result<()> {
        let asked = self.jetstream.nats.client.request(reply, payload(kind));
        match tokio::time::timeout(self.jetstream.nats.request_timeout, asked).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(unavailable(error, "confirming answers")),
            Err(_) => Err(unavailable("no answer", "confirming answers")),
        }
    }
}

pub(crate) fn payload(kind: AckKind) -> Bytes {
    kind.into()
}

/// Answers deliveries. The last answer of a call is confirmed by the server, and with it all before it.
#[derive(Clone)]
pub struct NatsSettler(pub(crate) Of);

#[derive(Clone)]
pub(crate) enum Of {
    Core(CoreSettler),
    JetStream(Arc<Desk>),
}

impl Settler for NatsSettler {
    async fn settle(&self, answers: &[(Token, Settle)]) -> Result<()> {
        match &self.0 {
            Of::Core(settler) => {
                settler.settle(answers);
                Ok(())
            }
            Of::JetStream(desk) => desk.settle(answers).await,
        }
    }
}

impl fmt::Debug for NatsSettler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NatsSettler")
    }
}
