//! A TCP proxy that breaks things on purpose. It listens on a free port of the loopback and passes every connection on to
//! its target, as the fault of the moment lets it.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::{JoinHandle, spawn},
    time::sleep,
};

/// A direction as the client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the client to the server.
    Up,
    /// From the server to the client.
    Down,
}

/// What the proxy does with bytes and connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: everything passes.
    Pass,
    /// Each chunk waits so long, both ways.
    Delay(Duration),
    /// At most so many bytes a second, each way.
    Throttle(u64),
    /// Nothing passes this way, as behind a router that has lost its table: the bytes wait where they are, as TCP
    /// keeps them, and pass when the fault ends.
    Hole(Way),
    /// Nothing passes in either way; connections stay open.
    Silence,
    /// Each connection that is there is reset; new ones pass.
    Reset,
    /// Each connection is cut when so many bytes have passed this way, counted from when the fault began.
    CutAfter(Way, u64),
    /// A bit of the first byte of each chunk this way is flipped.
    Flip(Way),
    /// Each chunk this way passes twice.
    Twice(Way),
    /// Connections are cut, and new ones are closed at once.
    Refuse,
}

/// A running proxy; its connections end with it.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    fault: watch::Sender<(u64, Fault)>,
    passed: Arc<[AtomicU64; 2]>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Listens for connections to `target`.
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let (fault, watched) = watch::channel((0, Fault::Pass));
        let passed = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
        let counts = passed.clone();
        let accepting = spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if watched.borrow().1 == Fault::Refuse {
                    continue;
                }
                let Ok(server) = TcpStream::connect(target).await else { continue };
                drop((client.set_nodelay(true), server.set_nodelay(true)));
                spawn(carry(client, server, watched.clone(), counts.clone()));
            }
        });
        Self { address, fault, passed, accepting }
    }

    /// Its address as clients of NATS take it.
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets something else happen from now on.
    pub fn set(&self, fault: Fault) {
        self.fault.send_modify(|(turn, now)| (*turn, *now) = (*turn + 1, fault));
    }

    /// Lets everything pass again.
    pub fn heal(&self) {
        self.set(Fault::Pass);
    }

    /// How many bytes have passed this way.
    pub fn passed(&self, way: Way) -> u64 {
        self.passed[way as usize].load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        // The connections see that the sender is gone.
    }
}

/// Carries one connection until a side ends, a fault cuts it, or the proxy is dropped.
async fn carry(
    client: TcpStream,
    server: TcpStream,
    fault: watch::Receiver<(u64, Fault)>,
    passed: Arc<[AtomicU64; 2]>,
) {
    let born = fault.borrow().0;
    let (client_in, client_out) = client.into_split();
    let (server_in, server_out) = server.into_split();
    let up = pump(client_in, server_out, Way::Up, fault.clone(), passed.clone());
    let down = pump(server_in, client_out, Way::Down, fault.clone(), passed);
    tokio::select! {
        () = up => {}
        () = down => {}
        () = cut(fault, born) => {}
    }
}

/// Returns when a fault cuts connections that are as old as `born`.
async fn cut(mut fault: watch::Receiver<(u64, Fault)>, born: u64) {
    loop {
        let (turn, now) = *fault.borrow_and_update();
        if matches!(now, Fault::Refuse) || matches!(now, Fault::Reset) && turn > born {
            return;
        }
        if fault.changed().await.is_err() {
            return;
        }
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    way: Way,
    mut fault: watch::Receiver<(u64, Fault)>,
    passed: Arc<[AtomicU64; 2]>,
) {
    let mut buffer = vec![0; 16 * 1_024];
    let (mut turn, mut since) = (0, 0_u64);
    loop {
        // While nothing passes, nothing is read: the bytes wait in the kernel, as lost packets would be sent again.
        while matches!(fault.borrow().1, Fault::Silence) || fault.borrow().1 == Fault::Hole(way) {
            if fault.changed().await.is_err() {
                return;
            }
        }
        let read = tokio::select! {
            read = from.read(&mut buffer) => read,
            changed = fault.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
        };
        let Ok(length @ 1..) = read else { return };
        let (now, what) = *fault.borrow();
        if now != turn {
            (turn, since) = (now, 0);
        }
        let mut length = length;
        let mut last = false;
        match what {
            Fault::Delay(time) => sleep(time).await,
            Fault::Throttle(rate) => sleep(Duration::from_secs_f64(length as f64 / rate.max(1) as f64)).await,
            Fault::CutAfter(cut, bytes) if cut == way => {
                let left = bytes.saturating_sub(since) as usize;
                last = length >= left;
                length = length.min(left);
            }
            Fault::Flip(flipped) if flipped == way => buffer[0] ^= 1,
            _ => {}
        }
        since += length as u64;
        passed[way as usize].fetch_add(length as u64, Ordering::Relaxed);
        let times = if what == Fault::Twice(way) { 2 } else { 1 };
        for _ in 0..times {
            if to.write_all(&buffer[..length]).await.is_err() {
                return;
            }
        }
        if last {
            return;
        }
    }
}
