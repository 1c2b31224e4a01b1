//! The reliable publish: answers are awaited together, and what was not answered is sent again under the same id.

use crate::{
    Nats,
    error::{fault, unavailable},
    transport::JetStream,
};
use async_nats::{
    HeaderMap,
    jetstream::{
        context::{PublishAckFuture, PublishError, PublishErrorKind},
        message::PublishMessage,
        publish::PublishAck,
    },
};
use bytes::Bytes;
use catga_contract::{ErrorKind, Outcome};
use futures_util::{StreamExt, stream::FuturesUnordered};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

/// How many publishes of one call are under way at a time.
const WINDOW: usize = 1_024;
/// The pause after a round in which the server refused for a reason that may pass.
const PAUSE: Duration = Duration::from_millis(50);

/// A message as it goes to the server.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) subject: async_nats::Subject,
    pub(crate) payload: Bytes,
    pub(crate) headers: HeaderMap,
}

/// What is known of one message.
enum Known {
    /// Not sent yet: where time runs out, nothing was published.
    Nothing,
    /// Sent, and no answer came.
    Sent,
    Answered(Outcome),
}

impl JetStream {
    /// Publishes until everything is answered or `deadline` has come; one outcome for each message.
    pub(crate) async fn send(&self, messages: &[Sent], deadline: Instant) -> Vec<Outcome> {
        let mut known: Vec<Known> = messages.iter().map(|_| Known::Nothing).collect();
        loop {
            let open = known.iter().enumerate().filter(|(_, known)| !matches!(known, Known::Answered(_)));
            let open: Vec<usize> = open.map(|(at, _)| at).take(WINDOW).collect();
            if open.is_empty() || Instant::now() >= deadline || !self.nats.connected(deadline).await {
                break;
            }
            let again = (Instant::now() + self.options.answer_timeout).min(deadline);
            if let Some(trouble) = self.round(messages, &open, &mut known, again).await {
                self.mend(trouble).await;
                sleep(PAUSE.min(deadline.saturating_duration_since(Instant::now()))).await;
            }
        }
        let outcome = |known| match known {
            Known::Answered(outcome) => outcome,
            Known::Sent => Outcome::Unknown,
            Known::Nothing => {
                let text = format!("no connection within {:?}: nothing was sent", self.options.publish_timeout);
                Outcome::Refused(unavailable(text, "publishing"))
            }
        };
        known.into_iter().map(outcome).collect()
    }

    /// Sends the open ones in order and awaits their answers, until `until` or until the connection breaks.
    async fn round(
        &self,
        messages: &[Sent],
        open: &[usize],
        known: &mut [Known],
        until: Instant,
    ) -> Option<PublishErrorKind> {
        let mut changes = self.nats.changes();
        let mut answers = FuturesUnordered::new();
        let mut trouble = None;
        for at in open {
            match timeout_at(until, send(&self.nats, &messages[*at])).await {
                Ok(Ok(answer)) => {
                    known[*at] = Known::Sent;
                    answers.push(async move { (*at, answer.await) });
                }
                Ok(Err(error)) => trouble = conclude(&mut known[*at], Err(error), &messages[*at]).or(trouble),
                Err(_) => {
                    // It may lie in the client's queue: whether it left is unknown from here on.
                    known[*at] = Known::Sent;
                    break;
                }
            }
        }
        while !answers.is_empty() {
            tokio::select! {
                biased;
                answer = answers.next() => {
                    let Some((at, answer)) = answer else { break };
                    trouble = conclude(&mut known[at], answer, &messages[at]).or(trouble);
                }
                // The client does not fail answers when the connection breaks; waiting for them would waste the time
                // in which they can be asked for again.
                _ = changes.changed() => break,
                () = tokio::time::sleep_until(until) => break,
            }
        }
        trouble
    }

    /// What can be done about a round that met `trouble`.
    async fn mend(&self, trouble: PublishErrorKind) {
        if trouble != PublishErrorKind::StreamNotFound {
            return;
        }
        match self.ensure_stream().await {
            Ok(true) => {
                tracing::error!(
                    stream = self.options.stream.name,
                    "the stream was gone and is made anew; what it kept is lost"
                );
            }
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "nothing takes what is published"),
        }
    }
}

async fn send(nats: &Nats, sent: &Sent) -> Result<PublishAckFuture, PublishError> {
    let Sent { subject, payload, headers } = sent.clone();
    let mut message = PublishMessage::build().payload(payload);
    if !headers.is_empty() {
        message = message.headers(headers);
    }
    nats.context.send_publish(subject, message).await
}

/// Notes an answer; answers what kind of trouble stands in the way where it can be tried again.
fn conclude(known: &mut Known, answer: Result<PublishAck, PublishError>, message: &Sent) -> Option<PublishErrorKind> {
    let error = match answer {
        Ok(ack) => {
            *known = Known::Answered(if ack.duplicate { Outcome::Duplicate } else { Outcome::Stored });
            return None;
        }
        Err(error) => error,
    };
    let refused = |kind, error| {
        Known::Answered(Outcome::Refused(fault(kind, error, format_args!("publishing to `{}`", message.subject))))
    };
    match error.kind() {
        PublishErrorKind::StreamNotFound => Some(PublishErrorKind::StreamNotFound),
        PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe | PublishErrorKind::MaxAckPending => None,
        PublishErrorKind::MaxPayloadExceeded => {
            *known = refused(ErrorKind::Invalid, error);
            None
        }
        PublishErrorKind::WrongLastMessageId | PublishErrorKind::WrongLastSequence => {
            *known = refused(ErrorKind::Conflict, error);
            None
        }
        PublishErrorKind::Other => {
            // The server says why: a full disk or stream, which may pass, but not within this call.
            *known = refused(ErrorKind::Unavailable, error);
            None
        }
    }
}
