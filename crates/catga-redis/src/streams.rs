//! Publishing on Redis Streams: one stream a subject, one group a consumer.

use crate::{
    args::Arg,
    dotnet,
    error::{fault, is_unknown, strange},
    scripts::SCRIPTS,
    store::Redis,
    subscription::StreamSubscription,
};
use catga_contract::{
    Capabilities, Durability, Error, ErrorKind, Order, Outcome, Parcel, Registration, Result, SubscribeOptions,
};
use std::time::{Duration, UNIX_EPOCH};

/// The largest frame, in bytes: 16 MiB.
pub(crate) const MAX_FRAME: usize = 16 * 1024 * 1024;
/// The most bytes of one call of the server. A batch of more is several, one after the other.
const CALL: usize = 64 * 1024 * 1024;

/// The settings of a transport on streams.
#[derive(Clone, Debug)]
pub(crate) struct Streams {
    pub(crate) redis: Redis,
    /// For how long an id is published once only.
    pub(crate) dedupe: Option<Duration>,
    pub(crate) dotnet: bool,
}

impl Streams {
    pub(crate) fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::none("redis", MAX_FRAME);
        capabilities.durable = self.redis.promise().durable;
        capabilities.dedupe = self.dedupe.is_some();
        if self.dotnet {
            // Always trimmed, so nothing is promised.
            capabilities.durable = Durability::None;
            return capabilities;
        }
        capabilities.redelivery = true;
        capabilities.order = Order::Stream;
        capabilities.atomic_batch = true;
        capabilities.delay = true;
        capabilities.groups = true;
        capabilities.fenced_settle = true;
        capabilities
    }

    pub(crate) async fn register(&self, consumers: &[Registration]) -> Result<()> {
        if self.dotnet {
            return if consumers.is_empty() { Ok(()) } else { Err(no_receiving()) };
        }
        let mut args = Vec::new();
        for Registration { consumer, subjects, .. } in consumers {
            args.push(Arg::from(&**consumer));
            args.push(Arg::from(subjects.len() as i64));
            args.extend(subjects.iter().map(|subject| Arg::from(&**subject)));
        }
        let restored: u64 = self.redis.run(&SCRIPTS.register, &args, "registering consumers").await?;
        if restored > 0 {
            tracing::error!(restored, "groups of registered consumers were missing; they go on where they had settled");
        }
        Ok(())
    }

    pub(crate) async fn subscribe(&self, options: SubscribeOptions) -> Result<StreamSubscription> {
        if self.dotnet {
            return Err(no_receiving());
        }
        StreamSubscription::open(self.redis.clone(), options).await
    }

    pub(crate) async fn publish(&self, parcels: &[Parcel], outcomes: &mut Vec<Outcome>) -> Result<()> {
        if self.dotnet {
            return dotnet::add(&self.redis, self.dedupe.is_some(), parcels, outcomes).await;
        }
        let mut rest = parcels;
        let mut first = true;
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = |parcel: &Parcel| {
                bytes += parcel.frame.len();
                bytes > CALL
            };
            let many = rest.iter().position(fits).unwrap_or(rest.len()).max(1);
            let (now, later) = rest.split_at(many);
            match self.publish_some(now, outcomes).await {
                Err(error) if first => return Err(error),
                // A part of the batch is there: what follows is published again, in its order.
                Err(_) => {
                    outcomes.extend(rest.iter().map(|_| Outcome::Unknown));
                    return Ok(());
                }
                Ok(true) => {}
                Ok(false) => {
                    outcomes.extend(later.iter().map(|_| Outcome::Unknown));
                    return Ok(());
                }
            }
            (rest, first) = (later, false);
        }
        Ok(())
    }

    /// One call; `false` where its answer was lost.
    async fn publish_some(&self, parcels: &[Parcel], outcomes: &mut Vec<Outcome>) -> Result<bool> {
        let window = self.dedupe.map_or(0, |window| i64::try_from(window.as_millis()).unwrap_or(i64::MAX).max(1));
        let bound = self.redis.inner.options.max_len as i64;
        let plain = window == 0 && parcels.iter().all(|parcel| parcel.due.is_none() && parcel.to.is_none());
        let mut args = Vec::with_capacity(3 + 5 * parcels.len());
        args.extend([Arg::from(bound), Arg::from(window), Arg::from(i64::from(plain))]);
        let mut due_later = false;
        for parcel in parcels.iter().filter(|parcel| fits(parcel)) {
            args.extend([Arg::from(&*parcel.subject), Arg::from(&parcel.frame[..])]);
            if plain {
                continue;
            }
            let due = parcel.due.and_then(|due| due.duration_since(UNIX_EPOCH).ok());
            let due = due.map_or(0, |due| i64::try_from(due.as_micros()).unwrap_or(i64::MAX).min(1 << 52));
            due_later |= due > 0;
            args.push(Arg::from(if window > 0 { format!("{:032x}", parcel.id.0) } else { String::new() }));
            args.push(Arg::from(due));
            args.push(Arg::from(parcel.to.as_deref().unwrap_or("")));
        }
        let answers: Vec<u8> = if args.len() == 3 {
            Vec::new()
        } else {
            match self.redis.try_run(&SCRIPTS.publish, &args).await {
                Ok(answers) => answers,
                Err(error) if is_unknown(&error) => {
                    tracing::warn!(%error, count = parcels.len(), "a publish without an answer: it is unknown what was kept");
                    outcomes.extend(parcels.iter().map(|_| Outcome::Unknown));
                    return Ok(false);
                }
                Err(error) => return Err(fault(error, "publishing")),
            }
        };
        let mut answers = answers.into_iter();
        for parcel in parcels {
            if !fits(parcel) {
                outcomes.push(Outcome::Refused(too_large(parcel)));
                continue;
            }
            let answer = answers.next().ok_or_else(|| strange("publishing"))?;
            outcomes.push(self.outcome(parcel, answer));
        }
        if due_later {
            self.redis.inner.stir.notify(usize::MAX);
        }
        Ok(true)
    }

    fn outcome(&self, parcel: &Parcel, answer: u8) -> Outcome {
        let subject = &parcel.subject;
        match answer {
            0 => Outcome::Stored,
            1 => Outcome::Duplicate,
            2 => {
                let most = self.redis.inner.options.max_len;
                let text = format!("the stream of `{subject}` has {most} entries that a consumer has not settled");
                Outcome::Refused(Error::new(ErrorKind::Busy, text).with_pause(Duration::from_millis(100)))
            }
            3 => {
                self.redis.count_unheard(subject);
                Outcome::Stored
            }
            4 => {
                tracing::error!(%subject, "the stream was gone with what it held; it was made again with its groups");
                Outcome::Stored
            }
            _ => {
                let to = parcel.to.as_deref().unwrap_or("");
                let text = format!("a message for consumer `{to}`, which takes nothing");
                Outcome::Refused(Error::new(ErrorKind::NotFound, text))
            }
        }
    }
}

pub(crate) fn fits(parcel: &Parcel) -> bool {
    parcel.frame.len() <= MAX_FRAME
}

pub(crate) fn too_large(parcel: &Parcel) -> Error {
    let (size, subject) = (parcel.frame.len(), &parcel.subject);
    let text = format!("a message of {size} bytes for `{subject}`; this transport carries at most {MAX_FRAME}");
    Error::new(ErrorKind::Invalid, text)
}

fn no_receiving() -> Error {
    let text = ".NET Catga writes no streams, so there is nothing to receive from: receive on pub/sub";
    Error::new(ErrorKind::Unsupported, text)
}
