use crate::error::fault;
use catga_contract::{Error, ErrorKind, Result};
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion};
use std::{fmt, time::Duration};

/// How to reach a server, and what to ask of it.
///
/// ```
/// use catga_redis::RedisOptions;
/// use std::time::Duration;
///
/// let options = RedisOptions::from_url("redis://shop:secret@localhost:6379/0?namespace=shop&strict=true")?
///     .lease(Duration::from_secs(5));
/// assert!(!format!("{options:?}").contains("secret"));
/// # Ok::<(), catga_contract::Error>(())
/// ```
#[derive(Clone)]
pub struct RedisOptions {
    pub(crate) info: ConnectionInfo,
    pub(crate) namespace: String,
    pub(crate) strict: bool,
    pub(crate) lease: Duration,
    pub(crate) max_len: usize,
    pub(crate) marks: Duration,
    pub(crate) timeout: Duration,
    #[cfg(feature = "tls")]
    certificates: Certificates,
}

/// Certificates in PEM.
#[cfg(feature = "tls")]
#[derive(Clone, Default)]
struct Certificates {
    root: Option<Vec<u8>>,
    client: Option<(Vec<u8>, Vec<u8>)>,
}

impl RedisOptions {
    /// Reads a URL, such as `redis://user:password@host:6379/0`; the user is one of the server's ACL. `rediss://` is TLS
    /// and needs the feature `tls`, which takes `ring` for its
    /// cryptography unless the process has chosen another provider of rustls. Behind `?` may stand `namespace`, `strict`, `lease_ms`, `max_len`, `marks_s` and
    /// `timeout_ms`, which say what the methods of these names say.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] where it is no such URL. The text does not repeat it, because of the password.
    pub fn from_url(url: &str) -> Result<Self> {
        let (address, query) = url.split_once('?').unwrap_or((url, ""));
        if address.starts_with("rediss:") && cfg!(not(feature = "tls")) {
            let text = "`rediss://` is TLS: turn on the feature `tls` of `catga-redis`";
            return Err(Error::new(ErrorKind::Invalid, text));
        }
        let info = address.into_connection_info().map_err(|error| {
            let text = format!("the URL of Redis cannot be read: {}", error.category());
            Error::new(ErrorKind::Invalid, text)
        })?;
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP2);
        let mut options = Self {
            info: info.set_redis_settings(settings),
            namespace: "catga".into(),
            strict: false,
            lease: Duration::from_secs(10),
            max_len: 1_000_000,
            marks: Duration::from_secs(7 * 24 * 3_600),
            timeout: Duration::from_secs(5),
            #[cfg(feature = "tls")]
            certificates: Certificates::default(),
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let number = || {
                let text = format!("the option `{name}` of the URL of Redis is no number");
                value.parse::<u64>().map_err(|_| Error::new(ErrorKind::Invalid, text))
            };
            options = match name {
                "namespace" => options.namespace(value),
                "strict" => options.strict(!matches!(value, "false" | "0")),
                "lease_ms" => options.lease(Duration::from_millis(number()?)),
                "max_len" => options.max_len(usize::try_from(number()?).unwrap_or(usize::MAX)),
                "marks_s" => options.keep_marks(Duration::from_secs(number()?)),
                "timeout_ms" => options.timeout(Duration::from_millis(number()?)),
                _ => {
                    let text = format!("the URL of Redis has an option `{name}`, which there is not");
                    return Err(Error::new(ErrorKind::Invalid, text));
                }
            };
        }
        options.check()?;
        Ok(options)
    }

    /// The hash tag that all keys carry, 1 to 100 letters, digits, `.`, `_` and `-`; default `catga`. Our keys begin with
    /// `catga:{namespace}:`, and a handler may write to keys that carry `{namespace}`. One namespace
    /// lies in one slot. An ACL user needs `~catga:{namespace}*`, and `&catga:{namespace}*` for pub/sub.
    #[must_use]
    pub fn namespace(mut self, namespace: &str) -> Self {
        namespace.clone_into(&mut self.namespace);
        self
    }

    /// Whether a server is refused that may forget what it has acknowledged; default `false`: it is warned of.
    #[must_use]
    pub fn strict(mut self, strict: bool) -> Self {
        self.strict = strict;
        self
    }

    /// How long a member of a consumer may be silent before others take what it has; default 10 s, 100 ms to 1 h. While it
    /// lives it says so three times in that time, however long its handlers take.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// The most entries of a stream, and the most that wait for their time on one subject; default 1,000,000, 1 to 2^53.
    /// What every registered consumer has settled is trimmed; nothing else ever is, so a publish is refused as busy
    /// where a stream is full.
    #[must_use]
    pub fn max_len(mut self, entries: usize) -> Self {
        self.max_len = entries;
        self
    }

    /// How long the mark that a message was handled is kept, with its answer; default 7 days, 1 s to 10 years. It must be
    /// longer than a message may come again after.
    #[must_use]
    pub fn keep_marks(mut self, time: Duration) -> Self {
        self.marks = time;
        self
    }

    /// How long to wait for an answer of the server before the outcome counts as unknown; default 5 s, 10 ms to 1 h.
    #[must_use]
    pub fn timeout(mut self, time: Duration) -> Self {
        self.timeout = time;
        self
    }

    /// The certificate, in PEM, of who signed the server's, instead of the authorities that Mozilla trusts.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn root_certificate(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.certificates.root = Some(pem.into());
        self
    }

    /// The certificate and the private key, in PEM, by which this process shows the server who it is.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn client_certificate(mut self, certificate: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.certificates.client = Some((certificate.into(), key.into()));
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        let refuse = |text: String| Err(Error::new(ErrorKind::Invalid, text));
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if !(1..=100).contains(&self.namespace.len()) || !self.namespace.bytes().all(plain) {
            return refuse(format!(
                "the namespace `{}` is not of 1 to 100 letters, digits, `.`, `_`, `-`",
                self.namespace
            ));
        }
        let hour = Duration::from_secs(3_600);
        let bounds = [
            ("lease", self.lease, Duration::from_millis(100), hour),
            ("timeout", self.timeout, Duration::from_millis(10), hour),
            ("time of marks", self.marks, Duration::from_secs(1), hour * 24 * 3_650),
        ];
        for (what, value, least, most) in bounds {
            if !(least..=most).contains(&value) {
                return refuse(format!("a {what} of {value:?}; {least:?} to {most:?}"));
            }
        }
        if !(1..=1 << 53).contains(&(self.max_len as u64)) {
            return refuse(format!("a max_len of {} entries; 1 to 2^53", self.max_len));
        }
        Ok(())
    }

    pub(crate) fn client(&self) -> Result<redis::Client> {
        #[cfg(feature = "tls")]
        if matches!(self.info.addr(), ConnectionAddr::TcpTls { .. }) {
            // The client panics where the process has no provider of cryptography, or two to choose from.
            if rustls::crypto::CryptoProvider::get_default().is_none() {
                drop(rustls::crypto::ring::default_provider().install_default());
            }
            let Certificates { root, client } = self.certificates.clone();
            let client_tls = client.map(|(client_cert, client_key)| redis::ClientTlsConfig { client_cert, client_key });
            let certificates = redis::TlsCertificates { client_tls, root_cert: root };
            let client = redis::Client::build_with_tls(self.info.clone(), certificates);
            return client.map_err(|error| fault(error, "reading certificates"));
        }
        redis::Client::open(self.info.clone()).map_err(|error| fault(error, "reaching Redis"))
    }

    /// Where the server is, without secrets.
    pub(crate) fn place(&self) -> String {
        match self.info.addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => format!("{host}:{port}"),
            other => other.to_string(),
        }
    }
}

impl fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = self.info.redis_settings();
        f.debug_struct("RedisOptions")
            .field("server", &self.place())
            .field("db", &settings.db())
            .field("user", &settings.username())
            .field("password", &settings.password().map(|_| "…"))
            .field("namespace", &self.namespace)
            .field("strict", &self.strict)
            .field("lease", &self.lease)
            .field("max_len", &self.max_len)
            .field("marks", &self.marks)
            .field("timeout", &self.timeout)
            .finish()
    }
}
