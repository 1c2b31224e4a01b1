use crate::error::unavailable;
use async_nats::{
    Client, ConnectOptions, Event,
    connection::State,
    jetstream::{Context, context::ContextBuilder},
};
use catga_contract::{Error, ErrorKind, Result};
use std::{
    fmt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

/// How to connect. Secrets are never printed: neither here nor in errors.
#[derive(Clone)]
#[non_exhaustive]
pub struct NatsOptions {
    /// The client's name as the server lists it. Default: `catga`.
    pub name: String,
    /// User and password.
    pub user: Option<(String, String)>,
    /// A token.
    pub token: Option<String>,
    /// The seed of an nkey, which begins with `SU`.
    pub nkey: Option<String>,
    /// A credentials file, as `nsc` writes it.
    pub credentials: Option<PathBuf>,
    /// Whether a connection without TLS is refused. Default: no; an address `tls://…` asks for it, too.
    pub require_tls: bool,
    /// Root certificates in PEM, instead of the system's.
    pub root_certificates: Option<PathBuf>,
    /// The client's certificate and its key, in PEM.
    pub client_certificate: Option<(PathBuf, PathBuf)>,
    /// How many messages of core subscriptions may wait in memory, each subscription; those beyond are dropped and
    /// counted. Default: 65,536.
    pub subscription_capacity: usize,
    /// How often the server is asked whether it is there. A silent connection ends after the third time. Default: 10 s.
    pub ping_interval: Duration,
    /// How long the server may take to accept a connection. Default: 5 s.
    pub connection_timeout: Duration,
    /// How long the server may take to answer a request. Default: 5 s.
    pub request_timeout: Duration,
    /// How many publishes may wait for their answers. Default: 8,192.
    pub max_in_flight: usize,
}

impl Default for NatsOptions {
    fn default() -> Self {
        Self {
            name: "catga".into(),
            user: None,
            token: None,
            nkey: None,
            credentials: None,
            require_tls: false,
            root_certificates: None,
            client_certificate: None,
            subscription_capacity: 65_536,
            ping_interval: Duration::from_secs(10),
            connection_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(5),
            max_in_flight: 8_192,
        }
    }
}

impl fmt::Debug for NatsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secret = |given: bool| if given { "given" } else { "none" };
        f.debug_struct("NatsOptions")
            .field("name", &self.name)
            .field("user", &secret(self.user.is_some()))
            .field("token", &secret(self.token.is_some()))
            .field("nkey", &secret(self.nkey.is_some()))
            .field("credentials", &secret(self.credentials.is_some()))
            .field("require_tls", &self.require_tls)
            .finish_non_exhaustive()
    }
}

/// A connection to NATS that comes back by itself; cheap to clone.
#[derive(Clone)]
pub struct Nats {
    pub(crate) client: Client,
    pub(crate) context: Context,
    pub(crate) request_timeout: Duration,
    state: Arc<Watched>,
    /// Held so that the channel outlives the client's callback.
    changes: watch::Receiver<u64>,
}

/// What the client's events tell.
#[derive(Default)]
struct Watched {
    dropped: AtomicU64,
}

impl Nats {
    /// Connects to one of the servers in `url`, which are separated by commas.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] where no server is reached, [`ErrorKind::Invalid`] where the address or a credential
    /// cannot be read.
    pub async fn connect(url: &str, options: NatsOptions) -> Result<Self> {
        let (changed, changes) = watch::channel(0_u64);
        let state = Arc::new(Watched::default());
        let seen = state.clone();
        let request_timeout = options.request_timeout;
        let connecting = connect_options(&options).await?.event_callback(move |event| {
            let (seen, changed) = (seen.clone(), changed.clone());
            async move { told(&event, &seen, &changed) }
        });
        let servers: Vec<&str> = url.split(',').map(str::trim).collect();
        let client = connecting.connect(servers).await.map_err(|error| {
            // The address may carry a password: it is not repeated.
            unavailable(error, "connecting to NATS")
        })?;
        let context = ContextBuilder::new()
            .timeout(request_timeout)
            .max_ack_inflight(options.max_in_flight)
            .backpressure_on_inflight(true)
            .build(client.clone());
        Ok(Self { client, context, request_timeout, state, changes })
    }

    /// How many messages were dropped because a core subscription's memory was full: at least so many, because the
    /// client tells of them by a channel of its own, which is bounded.
    pub fn dropped(&self) -> u64 {
        self.state.dropped.load(Ordering::Relaxed)
    }

    /// Whether the server is reached at this moment, as far as anybody knows.
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// The largest message, payload and headers together, that the server accepts, in bytes.
    pub fn max_payload(&self) -> usize {
        self.client.max_payload()
    }

    /// Sends what is buffered and ends the connection, for all its clones.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] where it has ended already.
    pub async fn close(&self) -> Result<()> {
        self.client.drain().await.map_err(|error| unavailable(error, "closing the connection to NATS"))
    }

    /// The version of the server, such as (2, 9).
    pub(crate) fn server_version(&self) -> (u32, u32) {
        let version = self.client.server_info().version;
        let mut numbers = version.split('.').map(|number| number.parse().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    }

    pub(crate) fn count_dropped(&self, messages: u64) {
        self.state.dropped.fetch_add(messages, Ordering::Relaxed);
    }

    /// Rises whenever the connection breaks or comes back.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        let mut changes = self.changes.clone();
        changes.mark_unchanged();
        changes
    }

    /// Waits until the server is reached; `false` where it is not before `deadline`.
    pub(crate) async fn connected(&self, deadline: Instant) -> bool {
        let mut changes = self.changes();
        while !self.is_connected() {
            if !matches!(timeout_at(deadline, changes.changed()).await, Ok(Ok(()))) {
                return self.is_connected();
            }
        }
        true
    }
}

impl fmt::Debug for Nats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nats").field("state", &self.client.connection_state()).finish_non_exhaustive()
    }
}

fn told(event: &Event, seen: &Watched, changed: &watch::Sender<u64>) {
    match event {
        Event::SlowConsumer(subscription) => {
            let before = seen.dropped.fetch_add(1, Ordering::Relaxed);
            if before == 0 {
                tracing::warn!(subscription, "a core subscription is full: messages are dropped, and counted");
            }
        }
        Event::Connected => tracing::info!("NATS: connected"),
        Event::Closed => tracing::info!("NATS: closed"),
        other => tracing::warn!("NATS: {other}"),
    }
    if matches!(event, Event::Connected | Event::Disconnected | Event::Closed) {
        changed.send_modify(|count| *count += 1);
    }
}

async fn connect_options(options: &NatsOptions) -> Result<ConnectOptions> {
    let mut connect = ConnectOptions::new()
        .name(&options.name)
        .client_capacity(4_096)
        .subscription_capacity(options.subscription_capacity)
        .ping_interval(options.ping_interval)
        .connection_timeout(options.connection_timeout)
        .request_timeout(Some(options.request_timeout))
        // The first try at once, then doubled up to a second: a consumer must not be deaf for long.
        .reconnect_delay_callback(|tries| match tries {
            0 | 1 => Duration::ZERO,
            _ => Duration::from_millis(10 << tries.min(8)).min(Duration::from_secs(1)),
        })
        .require_tls(options.require_tls);
    if let Some((user, password)) = &options.user {
        connect = connect.user_and_password(user.clone(), password.clone());
    }
    if let Some(token) = &options.token {
        connect = connect.token(token.clone());
    }
    if let Some(seed) = &options.nkey {
        connect = connect.nkey(seed.clone());
    }
    if let Some(path) = &options.credentials {
        connect = connect.credentials_file(path).await.map_err(|cause| {
            Error::new(ErrorKind::Invalid, cause).context(format_args!("credentials in {}", path.display()))
        })?;
    }
    if let Some(path) = &options.root_certificates {
        connect = connect.add_root_certificates(path.clone());
    }
    if let Some((certificate, key)) = &options.client_certificate {
        connect = connect.add_client_certificate(certificate.clone(), key.clone());
    }
    Ok(connect)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_print_no_secret() {
        let options = NatsOptions {
            user: Some(("me".into(), "s3cret-1".into())),
            token: Some("s3cret-2".into()),
            nkey: Some("s3cret-3".into()),
            ..Default::default()
        };
        let printed = format!("{options:?}");
        assert!(!printed.contains("s3cret") && !printed.contains("\"me\""), "{printed}");
        assert!(printed.contains("given"), "{printed}");
    }
}
