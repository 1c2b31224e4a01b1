//! A Redis server of the test's own, and what tests say often.
#![allow(dead_code, reason = "each test file uses a part")]

use bytes::Bytes;
use catga_contract::{
    Delivery, Envelope, MessageId, Outcome, Parcel, Registration, Settle, Settler, Str, SubscribeOptions, Subscription,
    Transport,
};
use catga_redis::{Redis, RedisOptions, redis};
use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::Duration,
};
use tempfile::TempDir;

/// The durable name that most tests use.
pub(crate) const MAIL: &str = "shop.mail";
/// The subject that it takes.
pub(crate) const PLACED: &str = "catga.orders.placed";

/// A server on a free port of this machine alone, in a directory of its own, with a password that nobody else has. It
/// ends with this value.
pub(crate) struct Server {
    child: Child,
    port: u16,
    password: String,
    settings: Vec<String>,
    directory: TempDir,
}

impl Server {
    /// One that writes each command to the disk before it answers.
    pub(crate) async fn durable() -> Self {
        Self::start(&["--appendonly", "yes", "--appendfsync", "always"]).await
    }

    /// One that keeps everything in memory.
    pub(crate) async fn fast() -> Self {
        Self::start(&["--appendonly", "no"]).await
    }

    pub(crate) async fn start(settings: &[&str]) -> Self {
        let mut directory = tempfile::tempdir().unwrap();
        let password = format!("{:032x}", MessageId::new().0);
        let settings: Vec<String> = settings.iter().map(|text| (*text).into()).collect();
        // Somebody else may take a free port before the server does.
        for _ in 0..20 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let child = spawn(port, &password, &settings, &directory);
            let mut server = Self { child, port, password: password.clone(), settings: settings.clone(), directory };
            if server.is_up().await {
                return server;
            }
            let replacement = tempfile::tempdir().unwrap();
            directory = std::mem::replace(&mut server.directory, replacement);
        }
        panic!("redis-server did not start on any of 20 ports");
    }

    /// Waits until the server answers, and sees that it is this one.
    async fn is_up(&mut self) -> bool {
        for _ in 0..1_000 {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            if let Ok(mut connection) = self.raw().await {
                let info: redis::RedisResult<String> =
                    redis::cmd("INFO").arg("server").query_async(&mut connection).await;
                if let Ok(info) = info {
                    return info.contains(&format!("process_id:{}\r\n", self.child.id()));
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        false
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://:{}@127.0.0.1:{}/0", self.password, self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Options with a lease that tests can wait for.
    pub(crate) fn options(&self) -> RedisOptions {
        RedisOptions::from_url(&self.url()).unwrap().namespace("shop").lease(Duration::from_millis(600))
    }

    pub(crate) async fn redis(&self) -> Redis {
        Redis::connect(self.options()).await.unwrap()
    }

    /// A connection without Catga.
    pub(crate) async fn raw(&self) -> redis::RedisResult<redis::aio::MultiplexedConnection> {
        redis::Client::open(self.url())?.get_multiplexed_async_connection().await
    }

    /// Ends the server as a power cut ends a process.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again, on the same port and directory.
    pub(crate) async fn restart(&mut self) {
        self.child = spawn(self.port, &self.password, &self.settings, &self.directory);
        assert!(self.is_up().await, "redis-server did not come back");
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

fn spawn(port: u16, password: &str, settings: &[String], directory: &TempDir) -> Child {
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--requirepass", password, "--save", ""]);
    command.arg("--dir").arg(directory.path()).args(["--logfile", "server.log"]).args(settings);
    match command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn() {
        Ok(child) => child,
        Err(error) => panic!("redis-server cannot be started ({error}): apt-get install redis-server"),
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Only the process that this value started.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

pub(crate) fn parcel_for(subject: &str, number: u64) -> Parcel {
    let payload = Bytes::from(number.to_string());
    let envelope = Envelope::new(MessageId::new(), "orders.placed".into(), "text".into(), payload);
    Parcel::new(subject.into(), envelope.id, envelope.encode().unwrap().into())
}

pub(crate) fn parcel(number: u64) -> Parcel {
    parcel_for(PLACED, number)
}

pub(crate) fn parcels(numbers: std::ops::Range<u64>) -> Vec<Parcel> {
    numbers.map(parcel).collect()
}

pub(crate) fn number(delivery: &Delivery) -> u64 {
    let message = delivery.message.as_ref().expect("a message");
    std::str::from_utf8(&message.payload).unwrap().parse().unwrap()
}

pub(crate) fn numbers(deliveries: &[Delivery]) -> Vec<u64> {
    deliveries.iter().map(number).collect()
}

pub(crate) async fn register(transport: &impl Transport, consumer: &str, subjects: &[&str]) {
    let subjects = subjects.iter().map(|subject| Str::from(*subject)).collect();
    transport.register(&[Registration::new(consumer.into(), subjects)]).await.unwrap();
}

pub(crate) async fn subscribe<T: Transport>(transport: &T, consumer: &str) -> T::Subscription {
    transport.subscribe(SubscribeOptions::new(consumer.into())).await.unwrap()
}

pub(crate) async fn outcomes(transport: &impl Transport, parcels: &[Parcel]) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    transport.publish(parcels, &mut outcomes).await.unwrap();
    assert_eq!(outcomes.len(), parcels.len());
    outcomes
}

pub(crate) async fn publish(transport: &impl Transport, parcels: &[Parcel]) {
    let outcomes = outcomes(transport, parcels).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Stored)), "{outcomes:?}");
}

/// The next `wanted` deliveries, as they come.
pub(crate) async fn take(subscription: &mut impl Subscription, wanted: usize) -> Vec<Delivery> {
    let mut taken = Vec::new();
    let taking = async {
        while taken.len() < wanted {
            subscription.next_batch(wanted - taken.len(), &mut taken).await.unwrap();
        }
    };
    let came = tokio::time::timeout(Duration::from_secs(60), taking).await;
    assert!(came.is_ok(), "{} of {wanted} deliveries came", taken.len());
    taken
}

/// Settles deliveries; the subscription is not borrowed while it waits.
pub(crate) fn settle<S: Subscription>(
    subscription: &S,
    deliveries: &[Delivery],
    answer: Settle,
) -> impl Future<Output = ()> + Send + use<S> {
    let answers: Vec<_> = deliveries.iter().map(|delivery| (delivery.token, answer)).collect();
    let settler = subscription.settler();
    async move { settler.settle(&answers).await.unwrap() }
}

pub(crate) async fn unsettled(transport: &impl Transport, consumer: &str) -> u64 {
    transport.unsettled(&Str::from(consumer)).await.unwrap()
}
