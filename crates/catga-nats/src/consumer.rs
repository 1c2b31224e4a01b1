//! Durable pull consumers.

use crate::{
    error::{CONSUMER_NOT_FOUND, STREAM_NOT_FOUND, fault, unavailable},
    names::token,
    stream::NOTHING,
    transport::JetStream,
};
use async_nats::jetstream::{
    consumer::{AckPolicy, DeliverPolicy, Info, pull},
    response::Response,
    stream::ConsumerErrorKind,
};
use catga_contract::{Error, ErrorKind, Registration, Result, Str};
use std::time::Duration;

/// How consumers receive.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConsumerOptions {
    /// How long the server waits for an answer before it hands a message to somebody else. While a handler works, it is
    /// told so every third of this. What the server sends to a member that is just leaving comes again after this time,
    /// too. Default: 30 s.
    pub ack_wait: Duration,
    /// For how long the server is told so for one message: a handler that takes longer loses it to another member.
    /// Default: 10 minutes.
    pub patience: Duration,
    /// How often the server says that it is there while nothing comes. After two that are missing, the subscription
    /// asks anew. Default: 5 s.
    pub heartbeat: Duration,
    /// How many messages one member takes at a time. Default: 256.
    pub batch: u32,
    /// How many members share the work. The server has at most `batch` × `workers` messages out, those that wait to come
    /// again included. Default: 16.
    pub workers: u32,
}

impl Default for ConsumerOptions {
    fn default() -> Self {
        Self {
            ack_wait: Duration::from_secs(30),
            patience: Duration::from_secs(600),
            heartbeat: Duration::from_secs(5),
            batch: 256,
            workers: 16,
        }
    }
}

impl JetStream {
    fn consumer_config(&self, consumer: &str, subjects: &[String], from: DeliverPolicy) -> pull::Config {
        let options = &self.options.consumer;
        let mut config = pull::Config {
            durable_name: Some(token(consumer)),
            description: Some(consumer.to_owned()),
            deliver_policy: from,
            ack_policy: AckPolicy::Explicit,
            ack_wait: options.ack_wait,
            // Our own count of started tries decides, not the server's of deliveries.
            max_deliver: -1,
            max_ack_pending: i64::from(options.batch) * i64::from(options.workers),
            ..Default::default()
        };
        match subjects {
            [subject] => config.filter_subject = subject.clone(),
            several => config.filter_subjects = several.to_vec(),
        }
        config
    }

    /// What the server knows of a consumer; `None` where there is none, or no stream.
    pub(crate) async fn consumer_info(&self, consumer: &str) -> Result<Option<Info>> {
        let doing = || format!("asking for consumer `{consumer}`");
        let subject = format!("CONSUMER.INFO.{}.{}", self.options.stream.name, token(consumer));
        let answer: Response<Info> =
            self.nats.context.request(subject, &NOTHING).await.map_err(|error| unavailable(error, doing()))?;
        match answer {
            Response::Ok(info) => Ok(Some(info)),
            Response::Err { error } if [CONSUMER_NOT_FOUND, STREAM_NOT_FOUND].contains(&error.error_code().0) => {
                Ok(None)
            }
            Response::Err { error } => Err(unavailable(error, doing())),
        }
    }

    /// Whether this program has registered a consumer.
    pub(crate) fn knows(&self, consumer: &str) -> bool {
        self.consumers.lock().unwrap_or_else(std::sync::PoisonError::into_inner).contains_key(consumer)
    }

    /// What a consumer takes, as the server knows it.
    pub(crate) async fn subjects_of(&self, consumer: &str) -> Result<Vec<Str>> {
        let Some(info) = self.consumer_info(consumer).await? else { return Ok(Vec::new()) };
        let mut subjects: Vec<Str> = info.config.filter_subjects.into_iter().map(Str::from).collect();
        subjects.extend(Some(info.config.filter_subject).filter(|one| !one.is_empty()).map(Str::from));
        Ok(subjects)
    }

    pub(crate) async fn register_one(&self, registration: &Registration) -> Result<()> {
        let Registration { consumer, subjects, .. } = registration;
        let subjects: Vec<String> = subjects.iter().map(|subject| self.wire_subject(subject)).collect();
        self.check_subjects(consumer, &subjects)?;
        let wanted = self.consumer_config(consumer, &subjects, DeliverPolicy::New);
        match self.consumer_info(consumer).await? {
            Some(info) => drift(consumer, &wanted, &info).into_iter().for_each(|text| self.note_drift(text)),
            None => self.make_consumer(consumer, wanted).await?,
        }
        self.consumers.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(consumer.clone(), subjects);
        Ok(())
    }

    fn check_subjects(&self, consumer: &str, subjects: &[String]) -> Result<()> {
        let refuse = |kind, text: String| Err(Error::new(kind, text).context(format_args!("consumer `{consumer}`")));
        if subjects.is_empty() {
            return refuse(ErrorKind::Invalid, "it takes no subject".into());
        }
        let (major, minor) = self.nats.server_version();
        if subjects.len() > 1 && (major, minor) < (2, 10) {
            let text = format!(
                "it takes {} subjects, and this server, {major}.{minor}, filters by one; have one consumer for each \
                 message, or nats-server 2.10",
                subjects.len()
            );
            return refuse(ErrorKind::Unsupported, text);
        }
        let kept = &self.options.stream.subjects;
        match subjects.iter().find(|subject| !kept.iter().any(|pattern| matches(pattern, subject))) {
            Some(subject) => {
                let text = format!("stream `{}` keeps {kept:?}, not `{subject}`", self.options.stream.name);
                refuse(ErrorKind::Invalid, text)
            }
            None => Ok(()),
        }
    }

    async fn make_consumer(&self, consumer: &str, config: pull::Config) -> Result<()> {
        let made = self.nats.context.create_consumer_on_stream(config, &self.options.stream.name).await;
        made.map(drop).map_err(|error| {
            let kind = match error.kind() {
                ConsumerErrorKind::TimedOut => ErrorKind::Unavailable,
                _ => ErrorKind::Invalid,
            };
            fault(kind, error, format_args!("making consumer `{consumer}`"))
        })
    }

    /// Sees to it that the consumer is there. One that somebody deleted is made anew behind message `floor`, up to which
    /// everything is known to be done with; in a stream that is new, from its beginning.
    pub(crate) async fn restore(&self, consumer: &str, floor: u64) -> Result<Option<Info>> {
        if let Some(info) = self.consumer_info(consumer).await? {
            return Ok(Some(info));
        }
        let subjects = {
            let consumers = self.consumers.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            consumers.get(consumer).cloned().unwrap_or_default()
        };
        if self.ensure_stream().await? {
            tracing::error!(
                stream = self.options.stream.name,
                "the stream was gone and is made anew; what it kept is lost"
            );
        }
        let last = self.stream_info().await?.state.last_sequence;
        let from = match floor {
            0 => DeliverPolicy::All,
            // The numbers began anew.
            floor if floor > last => DeliverPolicy::All,
            floor => DeliverPolicy::ByStartSequence { start_sequence: floor + 1 },
        };
        tracing::error!(consumer, ?from, "the consumer was gone and is made anew; some messages may come again");
        self.make_consumer(consumer, self.consumer_config(consumer, &subjects, from)).await?;
        self.consumer_info(consumer).await
    }
}

/// Each difference that matters, in words.
fn drift(consumer: &str, wanted: &pull::Config, found: &Info) -> Vec<String> {
    let found = &found.config;
    let mut drift = Vec::new();
    let mut compare = |what: &str, wants: String, has: String| {
        if wants != has {
            drift.push(format!("consumer `{consumer}`: {what} is {has}, this program wants {wants}"));
        }
    };
    let filters = |one: &String, several: &Vec<String>| {
        let mut all = several.clone();
        all.extend(Some(one.clone()).filter(|one| !one.is_empty()));
        all.sort();
        format!("{all:?}")
    };
    compare(
        "its filter",
        filters(&wanted.filter_subject, &wanted.filter_subjects),
        filters(&found.filter_subject, &found.filter_subjects),
    );
    compare("the wait for an answer", format!("{:?}", wanted.ack_wait), format!("{:?}", found.ack_wait));
    compare("the most that are out", wanted.max_ack_pending.to_string(), found.max_ack_pending.to_string());
    compare("the most deliveries", wanted.max_deliver.to_string(), found.max_deliver.to_string());
    compare("how it answers", format!("{:?}", wanted.ack_policy), format!("{:?}", found.ack_policy));
    drift
}

/// Whether a pattern of NATS takes a subject.
pub(crate) fn matches(pattern: &str, subject: &str) -> bool {
    let (mut pattern, mut subject) = (pattern.split('.'), subject.split('.'));
    loop {
        match (pattern.next(), subject.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some("*"), Some(_)) => {}
            (Some(one), Some(other)) if one == other => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_take_what_nats_says() {
        assert!(matches("catga.>", "catga.orders.placed") && matches("a.*.c", "a.b.c") && matches("a", "a"));
        assert!(!matches("catga.>", "catga") && !matches("a.*", "a.b.c") && !matches("a.b", "a"));
    }
}
