//! A private nats-server: on a free port of the loopback, in a directory of its own, owned by its pid.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// How long the server may take to answer after it was started.
const START: Duration = Duration::from_secs(20);

static SERVERS: AtomicU32 = AtomicU32::new(0);

/// A server that ends with this value, and no other one with it.
#[derive(Debug)]
pub struct NatsServer {
    child: Option<Child>,
    directory: TempDir,
    address: SocketAddr,
    name: String,
    settings: String,
}

impl NatsServer {
    /// A server with JetStream.
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// A server with these further lines in its configuration.
    pub fn start_with(settings: &str) -> Self {
        // Somebody may take a port between our look and the server's: then another one is tried.
        for _ in 0..10 {
            let directory = tempfile::Builder::new().prefix("catga-nats").tempdir().expect("a directory");
            let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port");
            let name = format!("catga-{}-{}", std::process::id(), SERVERS.fetch_add(1, Ordering::Relaxed));
            let mut server = Self { child: None, directory, address: free, name, settings: settings.into() };
            if server.run() {
                return server;
            }
        }
        panic!("no nats-server of ours answered on any of ten ports");
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its address as clients take it.
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Ends it as a power cut of the process would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("killing our server");
            child.wait().expect("waiting for our server");
        }
    }

    /// Starts it again on the same port and the same directory.
    pub fn restart(&mut self) {
        self.kill();
        assert!(self.run(), "the server came back on its port");
    }

    /// Stops its clock, so to speak: the process stays and does nothing.
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.as_ref().expect("a running server").id().to_string();
        let status = Command::new("kill").args([signal, &pid]).status().expect("kill");
        assert!(status.success(), "kill {signal} {pid}");
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    /// Starts the process; `false` where it ended because the port was taken.
    fn run(&mut self) -> bool {
        let config = self.directory.path().join("server.conf");
        let text = format!(
            "server_name: \"{}\"\nlisten: \"{}\"\nlog_file: \"{}\"\njetstream {{ store_dir: \"{}\" }}\n{}\n",
            self.name,
            self.address,
            self.log().display(),
            self.directory.path().join("store").display(),
            self.settings
        );
        fs::write(&config, text).expect("a configuration");
        drop(fs::remove_file(self.log()));
        let binary = find();
        let mut command = Command::new(binary);
        command.arg("-c").arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("starting nats-server");
        self.child = Some(child);
        let begun = Instant::now();
        while begun.elapsed() < START {
            let ended = self.child.as_mut().is_none_or(|child| child.try_wait().expect("its state").is_some());
            if ended {
                let log = fs::read_to_string(self.log()).unwrap_or_default();
                self.child = None;
                assert!(log.contains("address already in use"), "nats-server ended: {log}");
                return false;
            }
            if self.answers() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("nats-server did not answer within {START:?}");
    }

    /// Whether the port is answered by the server of our name: any other one's greeting carries another.
    fn answers(&self) -> bool {
        use std::io::{BufRead, BufReader};
        let ready = fs::read_to_string(self.log()).is_ok_and(|log| log.contains("Server is ready"));
        let Ok(stream) = std::net::TcpStream::connect(self.address) else { return false };
        drop(stream.set_read_timeout(Some(Duration::from_secs(2))));
        let mut greeting = String::new();
        let read = BufReader::new(stream).read_line(&mut greeting);
        ready && read.is_ok() && greeting.contains(&format!("\"server_name\":\"{}\"", self.name))
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The server's program, on PATH or where Debian puts it.
fn find() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/bin".into()]);
    let found = places.map(|place| place.join("nats-server")).find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("nats-server is missing; type: sudo apt-get install -y nats-server"))
}
