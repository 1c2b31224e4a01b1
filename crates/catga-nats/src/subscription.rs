use crate::{
    core::CoreSubscription,
    error::unavailable,
    frame,
    heart::Heart,
    names::token,
    settle::{Desk, NatsSettler, Of},
    transport::JetStream,
    tries::{self, Tries},
};
use async_nats::{Message, Subscriber, jetstream::AckKind};
use bytes::Bytes;
use catga_contract::{Delivery, Error, ErrorKind, MessageId, Result, Str, Subscription, Token};
use futures_util::{FutureExt, StreamExt};
use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout},
};

/// How long a pull request lives on the server.
const PULL: Duration = Duration::from_secs(30);
/// The pause after the server refused a pull.
const PAUSE: Duration = Duration::from_millis(20);

/// A member of a consumer. Dropped, it gives back what it did not settle.
pub struct NatsSubscription(Quality);

enum Quality {
    Core(CoreSubscription),
    JetStream(JetStreamSubscription),
}

impl NatsSubscription {
    pub(crate) fn core(subscription: CoreSubscription) -> Self {
        Self(Quality::Core(subscription))
    }

    pub(crate) fn jetstream(subscription: JetStreamSubscription) -> Self {
        Self(Quality::JetStream(subscription))
    }
}

impl Subscription for NatsSubscription {
    type Settler = NatsSettler;

    async fn next_batch(&mut self, most: usize, deliveries: &mut Vec<Delivery>) -> Result<()> {
        match &mut self.0 {
            Quality::Core(subscription) => subscription.next_batch(most, deliveries).await,
            Quality::JetStream(subscription) => subscription.next_batch(most.max(1), deliveries).await,
        }
    }

    fn settler(&self) -> NatsSettler {
        NatsSettler(match &self.0 {
            Quality::Core(subscription) => Of::Core(subscription.settler()),
            Quality::JetStream(subscription) => Of::JetStream(subscription.desk.clone()),
        })
    }
}

impl fmt::Debug for NatsSubscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NatsSubscription")
    }
}

/// A member of a durable pull consumer. It asks for as many messages as its caller wants, and for no more.
pub(crate) struct JetStreamSubscription {
    desk: Arc<Desk>,
    /// There until the subscription is dropped.
    inbox: Option<Subscriber>,
    address: String,
    changes: watch::Receiver<u64>,
    /// What came, in its order, with its token.
    arrived: VecDeque<(u64, Message)>,
    /// How many messages the server has been asked for and has not sent.
    asked: usize,
    heard: Instant,
    heart: Heart,
}

impl JetStreamSubscription {
    pub(crate) async fn open(jetstream: Arc<JetStream>, consumer: Str) -> Result<Self> {
        let about = |kind, text: String| Error::new(kind, text);
        if !jetstream.knows(&consumer) {
            return Err(about(ErrorKind::NotFound, format!("consumer `{consumer}` is not registered")));
        }
        let Some(info) = jetstream.consumer_info(&consumer).await? else {
            return Err(about(ErrorKind::NotFound, format!("consumer `{consumer}` is not on the server")));
        };
        let made = jetstream.stream_info().await?.created.unix_timestamp() as u64;
        let floor = info.ack_floor.stream_sequence;
        let (address, changes) = (jetstream.nats.client.new_inbox(), jetstream.nats.changes());
        let inbox = Some(subscribe(&jetstream, &address).await?);
        let desk = Arc::new(Desk::new(jetstream, consumer, made, floor));
        let heart = Heart::start(&desk);
        let heard = Instant::now();
        Ok(Self { desk, inbox, address, changes, arrived: VecDeque::new(), asked: 0, heard, heart })
    }

    async fn next_batch(&mut self, most: usize, deliveries: &mut Vec<Delivery>) -> Result<()> {
        loop {
            while let Some(Some(message)) = next(&mut self.inbox).now_or_never() {
                self.heard(message).await?;
            }
            if self.hand_out(most, deliveries).await? {
                return Ok(());
            }
            if self.asked < most {
                self.ask(most - self.asked).await?;
            }
            let silence = self.heard + 2 * self.desk.jetstream.options.consumer.heartbeat;
            tokio::select! {
                biased;
                message = next(&mut self.inbox) => match message {
                    Some(message) => self.heard(message).await?,
                    None => return Err(unavailable("the connection was closed", self.about())),
                },
                _ = self.changes.changed() => {
                    // What was asked for over a connection that broke, nobody will answer.
                    if self.desk.jetstream.nats.is_connected() {
                        self.renew().await?;
                    }
                }
                () = sleep_until(silence) => {
                    tracing::warn!(consumer = %self.desk.consumer, "the server is silent; it is asked anew");
                    self.heard = Instant::now();
                    self.renew().await?;
                }
            }
        }
    }

    /// Takes note of what the server sent.
    async fn heard(&mut self, message: Message) -> Result<()> {
        self.heard = Instant::now();
        match message.status.map_or(200, |status| status.as_u16()) {
            200 => self.arrive(message),
            // A heartbeat.
            100 => {}
            // The request has ended, and says how much of it is open.
            404 | 408 => {
                let open = message.headers.as_ref().and_then(|headers| headers.get("Nats-Pending-Messages"));
                let open = open.and_then(|open| open.as_str().parse().ok()).unwrap_or(self.asked);
                self.asked = self.asked.saturating_sub(open);
            }
            status => {
                let why = message.description.as_deref().unwrap_or_default();
                tracing::warn!(consumer = %self.desk.consumer, status, why, "the server ended a request");
                self.renew().await?;
                sleep(PAUSE).await;
            }
        }
        Ok(())
    }

    fn arrive(&mut self, message: Message) {
        self.asked = self.asked.saturating_sub(1);
        let Some((sequence, delivery, reply)) = numbers(&message) else {
            tracing::error!(subject = %message.subject, "a message without JetStream's reply; it cannot be answered");
            return;
        };
        let patience = self.desk.jetstream.options.consumer.patience;
        if let Some(token) = self.desk.arrive(reply, sequence, delivery, patience) {
            self.arrived.push_back((token, message));
        }
    }

    /// Moves what came to the caller; says whether there was any. Nothing leaves the queue before it is in the caller's
    /// hands.
    async fn hand_out(&mut self, most: usize, deliveries: &mut Vec<Delivery>) -> Result<bool> {
        let before = deliveries.len();
        while deliveries.len() - before < most
            && let Some((token, message)) = self.arrived.front()
        {
            let token = *token;
            let Some(held) = self.desk.get(token) else {
                self.arrived.pop_front();
                continue;
            };
            if frame::to(message).is_some_and(|to| self.desk.consumer != to) {
                // A replay for somebody else.
                self.desk.answer(held.reply, AckKind::Ack).await?;
                self.desk.forget(token);
                self.arrived.pop_front();
                continue;
            }
            let mut alone = false;
            let (mut count, mut first) = (0, None);
            if held.delivery > 1 {
                let key = self.desk.key(held.sequence);
                let known = tries::load(&self.desk.jetstream.tries, &key).await?;
                let clean = known.is_some_and(|tries| tries.delivery + 1 == held.delivery);
                let tries = known.unwrap_or(Tries { count: 0, delivery: 0, first: SystemTime::now() });
                (count, first) = (tries.count, known.map(|tries| tries.first));
                if !clean {
                    if deliveries.len() > before {
                        break;
                    }
                    // Counted before it starts, and alone: it may be what its last owner died of.
                    let counted = Tries { count: count + 1, delivery: held.delivery, first: tries.first };
                    tries::save(&self.desk.jetstream.tries, &key, counted).await?;
                    alone = true;
                }
                self.desk.change(token, |held| {
                    held.count = count + u32::from(alone);
                    held.counted = alone;
                    held.first = tries.first;
                });
            }
            let Some((_, message)) = self.arrived.pop_front() else { break };
            let mut delivery = Delivery::new(Token(token), self.frame(&message, held.sequence), count);
            delivery.first = first;
            deliveries.push(delivery);
            if alone {
                break;
            }
        }
        Ok(deliveries.len() > before)
    }

    /// The frame of a message. One that says no id has one of its place in the stream: the same whenever it comes.
    fn frame(&self, message: &Message, sequence: u64) -> Bytes {
        let JetStream { options, .. } = &*self.desk.jetstream;
        let made = self.desk.made.load(Ordering::Relaxed);
        let otherwise = MessageId(u128::from(made) << 80).child(&options.stream.name, 0);
        let otherwise = otherwise.child(&sequence.to_string(), 0);
        frame::read(message, options.dotnet.as_ref(), otherwise)
    }

    /// Asks for so many messages more.
    async fn ask(&mut self, most: usize) -> Result<()> {
        let JetStream { nats, options, .. } = &*self.desk.jetstream;
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", options.stream.name, token(&self.desk.consumer));
        let heartbeat = options.consumer.heartbeat.min(PULL / 2);
        let request =
            format!("{{\"batch\":{most},\"expires\":{},\"idle_heartbeat\":{}}}", PULL.as_nanos(), heartbeat.as_nanos());
        let asked = nats.client.publish_with_reply(subject, self.address.clone(), Bytes::from(request));
        match timeout(nats.request_timeout, asked).await {
            Ok(Ok(())) => {
                if self.asked == 0 {
                    self.heard = Instant::now();
                }
                self.asked += most;
                Ok(())
            }
            Ok(Err(error)) => Err(unavailable(error, self.about())),
            Err(_) => Err(unavailable("the connection takes nothing", self.about())),
        }
    }

    /// Forgets what was asked for, and sees to it that the consumer is there. A new inbox keeps late messages of the old
    /// requests from being counted for the new one; what it holds is taken first.
    async fn renew(&mut self) -> Result<()> {
        let floor = self.desk.floor.load(Ordering::Relaxed);
        let jetstream = self.desk.jetstream.clone();
        if let Some(info) = jetstream.restore(&self.desk.consumer, floor).await? {
            self.desk.floor.store(info.ack_floor.stream_sequence, Ordering::Relaxed);
        }
        let made = jetstream.stream_info().await?.created.unix_timestamp() as u64;
        self.desk.made.store(made, Ordering::Relaxed);
        let address = jetstream.nats.client.new_inbox();
        let inbox = subscribe(&jetstream, &address).await?;
        self.address = address;
        while let Some(Some(message)) = next(&mut self.inbox).now_or_never() {
            if message.status.is_none_or(|status| status.as_u16() == 200) {
                self.arrive(message);
            }
        }
        if let Some(old) = self.inbox.replace(inbox) {
            self.heart.end(old);
        }
        self.asked = 0;
        Ok(())
    }

    fn about(&self) -> String {
        format!("consumer `{}`", self.desk.consumer)
    }
}

impl Drop for JetStreamSubscription {
    fn drop(&mut self) {
        // What came and was not taken over is given back with the rest of the inbox.
        self.desk.give_back();
        if let Some(inbox) = self.inbox.take() {
            self.heart.end(inbox);
        }
    }
}

/// The next message of an inbox; nothing is lost where the future is dropped.
async fn next(inbox: &mut Option<Subscriber>) -> Option<Message> {
    inbox.as_mut()?.next().await
}

async fn subscribe(jetstream: &JetStream, address: &str) -> Result<Subscriber> {
    let subscribing = jetstream.nats.client.subscribe(address.to_owned());
    match timeout(jetstream.nats.request_timeout, subscribing).await {
        Ok(inbox) => inbox.map_err(|error| unavailable(error, "opening an inbox")),
        Err(_) => Err(unavailable("the connection takes nothing", "opening an inbox")),
    }
}

/// The number in the stream and that of the delivery, from the reply `$JS.ACK.stream.consumer.delivery.sequence.…`,
/// which newer servers begin with a domain and an account.
fn numbers(message: &Message) -> Option<(u64, u64, async_nats::Subject)> {
    let reply = message.reply.as_ref()?;
    let tokens: Vec<&str> = reply.strip_prefix("$JS.ACK.")?.split('.').collect();
    let skip = if tokens.len() >= 9 { 2 } else { 0 };
    let number = |at: usize| tokens.get(skip + at)?.parse().ok();
    Some((number(3)?, number(2)?, reply.clone()))
}
