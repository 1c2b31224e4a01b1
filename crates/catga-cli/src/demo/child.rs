//! The worker process: runs the order system, places what it is told to on standard input, and reports on standard
//! output. It is killed at any moment; nothing here prepares for that.

use super::{
    WorkerArgs,
    deliveries::APP,
    generate::{Random, mix},
    protocol::{Answer, Command, Report, Step, now},
    twice::Twice,
};
use catga::{App, Backoff, ErrorKind, Parcel, Result, sqlite::Sqlite};
use catga_order_system::{MIGRATIONS, Mishaps, PlaceOrder, wire};
use std::{
    fmt,
    fs::File,
    io::{self, BufRead, Write},
    os::fd::AsFd,
    process::ExitCode,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};
use tokio::sync::{mpsc, oneshot};
use tracing::{
    Level,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

/// Of how many calls of a handler one fails at each of the two places where it asks: 2 % in all.
const ONE_IN: u64 = 100;

/// The demo's worker, from start to end.
pub(crate) fn work(args: &WorkerArgs) -> ExitCode {
    let out = match Out::open() {
        Ok(out) => out,
        Err(error) => {
            eprintln!("catga: standard output: {error}");
            return ExitCode::from(2);
        }
    };
    let told = Told(out.clone()).with_filter(Targets::new().with_target("catga::delivery", Level::DEBUG));
    let log = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(io::stderr);
    tracing_subscriber::registry().with(told).with(log.with_filter(Targets::new().with_default(Level::WARN))).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(serve(args, &out)),
        Err(error) => Err(error.into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("catga: the demo's worker: {error:#}");
            ExitCode::from(2)
        }
    }
}

async fn serve(args: &WorkerArgs, out: &Out) -> Result<()> {
    let store = Sqlite::open(&args.store).await?.migrate(MIGRATIONS).await?;
    let transport = {
        let out = out.clone();
        let told = move |parcel: &Parcel| out.tell(&Report::Twice { id: parcel.id.to_string() });
        Twice::new(store.clone(), mix(args.seed), told)
    };
    // Mishaps pass at once, so waiting long before the next try would only blur the figures.
    let backoff = Backoff { attempts: 8, first: Duration::from_millis(5), ..Backoff::default() };
    let builder = App::builder(APP).store(store).transport(transport).backoff(backoff);
    let mut builder = wire(builder, mishaps(args.seed));
    if let Some(sabotage) = args.sabotage {
        builder = builder.sabotage(sabotage.into());
    }
    let app = builder.build().await?;

    let (mut commands, ended) = read_commands()?;
    let running = tokio::spawn({
        let app = app.clone();
        // An input that ended and one that broke off are the same: nobody is there any more.
        async move { app.run(async { drop(ended.await) }).await }
    });
    out.tell(&Report::Ready { rss: rss() });
    let mut open = tokio::task::JoinSet::new();
    while let Some(command) = commands.recv().await {
        let (app, out) = (app.clone(), out.clone());
        match command {
            Command::Place { attempt, order } => drop(open.spawn(async move {
                let answer = place(&app, order.into_owned()).await;
                out.tell(&Report::Answer { attempt, at: now(), answer });
            })),
            Command::AwaitIdle => drop(open.spawn(async move {
                match app.idle().await {
                    Ok(()) => out.tell(&Report::Idle),
                    Err(error) => tracing::error!("waiting until idle: {error:#}"),
                }
            })),
        }
        while open.try_join_next().is_some() {}
    }
    // The input ended, and with it everything that shall be done; what is at hand is finished by `run`.
    running.await??;
    out.tell(&Report::End { rss: rss() });
    Ok(())
}

async fn place(app: &App, order: PlaceOrder) -> Answer {
    match app.send(order).await {
        Ok(Ok(placed)) => Answer::Ok { existed: placed.existed, event: placed.event },
        Ok(Err(refusal)) => Answer::Refused(format!("{refusal:?}")),
        Err(error) if error.kind() == ErrorKind::Timeout => Answer::Unknown(format!("{error:#}")),
        Err(error) => Answer::Failed(format!("{error:#}")),
    }
}

/// Reads commands on a thread of its own, at once: the parent has at most so many open that memory stays bounded.
/// The second receiver hears when the input ends.
fn read_commands() -> Result<(mpsc::UnboundedReceiver<Command<'static>>, oneshot::Receiver<()>)> {
    let ((commands, receiver), (ended, end)) = (mpsc::unbounded_channel(), oneshot::channel());
    thread::Builder::new().name("commands".into()).spawn(move || {
        for line in io::stdin().lock().split(b'\n').map_while(io::Result::ok) {
            let sent = serde_json::from_slice(&line).map(|command| commands.send(command));
            match sent {
                Ok(Ok(())) => {}
                Ok(Err(_)) => break,
                Err(error) => {
                    tracing::error!("no command: {error}: {}", String::from_utf8_lossy(&line));
                    break;
                }
            }
        }
        let _ = ended.send(());
    })?;
    Ok((receiver, end))
}

/// Fails one call in a hundred at each place; a worker that comes back with the next seed fails others.
fn mishaps(seed: u64) -> Mishaps {
    let asked = AtomicU64::new(0);
    Mishaps::when(move || {
        let number = asked.fetch_add(1, Ordering::Relaxed);
        Random::new(mix(seed).wrapping_add(mix(number))).below(ONE_IN) == 0
    })
}

/// Memory that this process holds, in bytes; 0 where the system does not say.
fn rss() -> u64 {
    memory_stats::memory_stats().map_or(0, |stats| stats.physical_mem as u64)
}

/// Standard output without a buffer: a report is one write, so a kill leaves whole lines.
#[derive(Clone)]
struct Out(Arc<Mutex<File>>);

impl Out {
    fn open() -> io::Result<Self> {
        Ok(Self(Arc::new(Mutex::new(File::from(io::stdout().as_fd().try_clone_to_owned()?)))))
    }

    fn tell(&self, report: &Report) {
        let mut line = serde_json::to_vec(report).unwrap_or_else(|error| unreachable!("it is plain data: {error}"));
        line.push(b'\n');
        // Where the parent is gone there is nobody to tell, and the end of the input ends this process.
        let _ = self.0.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line);
    }
}

/// Reports what the framework says of deliveries, on the spot: "started" is out before the handler runs.
struct Told(Out);

impl<S: tracing::Subscriber> Layer<S> for Told {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        let at = now();
        let mut fields = Fields::default();
        event.record(&mut fields);
        let Fields { message, consumer, id, attempt } = fields;
        if let Some(step) = Step::named(&message) {
            self.0.tell(&Report::Delivery { consumer, id, attempt, at, step });
        }
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    consumer: String,
    id: String,
    attempt: u64,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = match field.name() {
            "message" => &mut self.message,
            "consumer" => &mut self.consumer,
            "id" => &mut self.id,
            _ => return,
        };
        *text = format!("{value:?}");
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "attempt" {
            self.attempt = value;
        }
    }
}
