use crate::{
    error::fault,
    guard::Guard,
    schema,
    sweep::Sweep,
    writer::{Link, Open, Shared},
};
use catga_contract::{Error, ErrorKind, Result, StoreId};
use futures_channel::oneshot;
use rusqlite::{Connection, OpenFlags};
use std::{
    fs::{File, TryLockError},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// How long a statement waits for another process before it is `Busy`, and how often it looks meanwhile. SQLite's own
/// handler sleeps ever longer and starves beside a busy writer.
const BUSY_WAIT: Duration = Duration::from_secs(5);
const BUSY_POLL: Duration = Duration::from_micros(500);
/// Prepared statements kept for each connection; ours take a dozen.
const STATEMENTS: usize = 128;
/// Idle connections kept for reading.
const READERS: usize = 4;

/// A durable store and queue in one SQLite file. Cheap to clone; the file closes with the last handle.
///
/// At a time one process works on a file: its workers, consumers and relay. Others may look in with
/// [`open_tool`](Self::open_tool).
#[derive(Clone)]
pub struct Sqlite {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) id: StoreId,
    path: PathBuf,
    pub(crate) shared: Arc<Shared>,
    readers: Mutex<Vec<Connection>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Opened beside the process that works on the file.
    tool: bool,
    /// Locked while this process works on the file.
    owner: Mutex<Option<File>>,
    attached: Arc<AtomicBool>,
    /// How often the outbox had rung when it was last read.
    pub(crate) outbox_heard: AtomicU64,
    pub(crate) sweep: Sweep,
    /// The folder of a temporary store; removed after the file is closed.
    folder: Option<tempfile::TempDir>,
    #[cfg(feature = "sabotage")]
    pub(crate) fault: std::sync::OnceLock<catga_contract::Fault>,
}

impl Sqlite {
    /// Opens the file at `path`, makes it where there is none, and brings Catga's own tables up to date. Starts the
    /// thread that writes.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] where the file cannot be opened, [`ErrorKind::Unsupported`] where a newer program
    /// made it, [`ErrorKind::Busy`] where another process keeps it locked for 5 seconds.
    pub async fn open(path: impl Into<PathBuf>) -> Result<Self> {
        Self::start(path.into(), None, false).await
    }

    /// A store in a private temporary folder that is removed with the last handle. It says so once, at `warn`.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub async fn temporary() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("catga-").tempdir()?;
        let path = folder.path().join("store.db");
        tracing::warn!(path = %path.display(), "temporary store: nothing in it survives this process");
        Self::start(path, Some(folder), false).await
    }

    /// The file that the environment variable `CATGA_STORE` names, or a [temporary](Self::temporary) store where it
    /// is not set.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub async fn from_env() -> Result<Self> {
        match std::env::var_os("CATGA_STORE") {
            Some(path) if !path.is_empty() => Self::open(path).await,
            _ => Self::temporary().await,
        }
    }

    /// Opens a file beside the process that works on it, for reading and for short write transactions. An application
    /// that is built on it answers an error: it never claims messages.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), and where there is no file or its tables are of another version.
    pub async fn open_tool(path: impl Into<PathBuf>) -> Result<Self> {
        Self::start(path.into(), None, true).await
    }

    /// Brings the user's tables up to date: `migrations[0]` makes version 1 of an empty file, each further entry the
    /// next version, each in one transaction with the note that it was applied. Entries never change once a file was
    /// made with them; new ones are added behind.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] where the file has more versions than the program knows, [`ErrorKind::Invalid`]
    /// where an applied entry has changed, and what SQLite answers. The file keeps its last whole version then.
    pub async fn migrate(self, migrations: &[&str]) -> Result<Self> {
        let migrations: Vec<String> = migrations.iter().map(ToString::to_string).collect();
        let run = move |link: &mut Link| schema::users(&mut link.connection, &link.guard, &migrations);
        self.inner.shared.run(run).await.map_err(|error| self.about(error))?;
        Ok(self)
    }

    /// Bounds the file, in bytes, rounded up to whole pages of 4 KiB; the default is SQLite's own, about 16 TiB. What
    /// does not fit is refused as by a full disk: [`ErrorKind::Unavailable`], with nothing acknowledged.
    ///
    /// # Errors
    ///
    /// What SQLite answers.
    pub async fn max_size(self, bytes: u64) -> Result<Self> {
        let run = move |link: &mut Link| {
            let page: u64 = link.connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
            Ok(link.connection.pragma_update(None, "max_page_count", bytes.div_ceil(page))?)
        };
        self.inner.shared.run(run).await.map_err(|error| self.about(error))?;
        Ok(self)
    }

    /// Reads on a connection that cannot write, at once and on the caller's thread: it sees everything that was
    /// committed before. A long query blocks the runtime's thread; run it on a thread of its own.
    ///
    /// # Errors
    ///
    /// What SQLite answers; [`ErrorKind::NotFound`] where there is no row.
    pub fn read<T>(&self, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        let idle = self.readers().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => reader(&self.inner.path).map_err(|error| self.about(fault(error, "opening for reading")))?,
        };
        let result = read(&connection).map_err(|error| self.about(fault(error, "reading")));
        let mut readers = self.readers();
        // One that was left inside a transaction would show the next reader the past.
        if readers.len() < READERS && connection.is_autocommit() {
            readers.push(connection);
        }
        result
    }

    /// What the applications on this file say of themselves, as JSON by name: kept when each was last built.
    ///
    /// # Errors
    ///
    /// What SQLite answers.
    pub fn descriptions(&self) -> Result<Vec<(String, String)>> {
        self.read(|db| {
            let mut select = db.prepare_cached("SELECT name, description FROM catga_application ORDER BY name")?;
            select.query_map((), |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        })
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Says which file an error is about.
    pub(crate) fn about(&self, error: Error) -> Error {
        error.context(self.inner.path.display())
    }

    fn readers(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.inner.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn start(path: PathBuf, folder: Option<tempfile::TempDir>, tool: bool) -> Result<Self> {
        let about = |error: Error| error.context(path.display());
        let (shared, attached) = (Shared::new(), Arc::new(AtomicBool::new(false)));
        let (sender, opened) = oneshot::channel();
        let thread = thread::Builder::new().name("catga-sqlite".into()).spawn({
            let (shared, attached, path) = (shared.clone(), attached.clone(), path.clone());
            move || {
                let open: Open = Box::new(move || writer(&path, tool));
                let first = open().and_then(|mut link| {
                    match tool {
                        true => schema::check(&link.connection)?,
                        false => schema::ours(&mut link.connection)?,
                    }
                    Ok(link)
                });
                match first {
                    Ok(link) => {
                        if sender.send(Ok(())).is_ok() {
                            shared.serve(link, &open, |link| {
                                if attached.load(Ordering::SeqCst) {
                                    close(&link.connection);
                                }
                            });
                        }
                    }
                    Err(error) => drop(sender.send(Err(error))),
                }
            }
        })?;
        let opened: Result<()> = opened.await.unwrap_or_else(|oneshot::Canceled| {
            Err(Error::new(ErrorKind::Unavailable, "the writing thread ended while it opened the file"))
        });
        opened.map_err(about)?;
        let inner = Inner {
            id: StoreId::fresh(),
            path,
            shared,
            readers: Mutex::default(),
            thread: Mutex::new(Some(thread)),
            tool,
            owner: Mutex::new(None),
            attached,
            outbox_heard: AtomicU64::new(u64::MAX),
            sweep: Sweep::default(),
            folder,
            #[cfg(feature = "sabotage")]
            fault: std::sync::OnceLock::new(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Makes this process the one that works on the file.
    pub(crate) async fn own(&self) -> Result<()> {
        if self.inner.tool {
            let text = "opened as a tool beside the process that works on it: it cannot run an application";
            return Err(self.about(Error::new(ErrorKind::Unsupported, text)));
        }
        {
            let mut owner = self.inner.owner.lock().unwrap_or_else(PoisonError::into_inner);
            if owner.is_none() {
                *owner = Some(lock(&self.inner.path).map_err(|error| self.about(error))?);
            }
        }
        if self.inner.attached.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        let hub = self.inner.shared.clone();
        let loaded = self.inner.shared.run(move |link| load(link, &hub)).await;
        match &loaded {
            Ok(()) => self.inner.shared.watch(),
            Err(_) => self.inner.attached.store(false, Ordering::SeqCst),
        }
        loaded.map_err(|error| self.about(error))
    }
}

/// Locks the file beside the store that says who works on it. The lock goes with the process, however it ends.
fn lock(path: &Path) -> Result<File> {
    let mut name = path.as_os_str().to_owned();
    name.push("-owner");
    let about = |error: io::Error| Error::new(ErrorKind::Unavailable, error).context(Path::new(&name).display());
    let file = File::options().read(true).write(true).create(true).truncate(false).open(&name).map_err(about)?;
    match file.try_lock() {
        Ok(()) => sign(&file).map(|()| file).map_err(about),
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            (&file).read_to_string(&mut pid).map_err(about)?;
            let text = format!("process {pid} works on this file already; one process at a time runs its consumers");
            Err(Error::new(ErrorKind::Busy, text))
        }
        Err(TryLockError::Error(error)) => Err(about(error)),
    }
}

/// Writes this process's number into the file that it has locked.
fn sign(mut file: &File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    write!(file, "{}", std::process::id())
}

/// Reads who consumes what. What a process had claimed that did not end in good order is to be tried alone.
fn load(link: &mut Link, shared: &Shared) -> Result<()> {
    let failed = |error| fault(error, "taking the file over");
    let transaction = link.connection.transaction().map_err(failed)?;
    // What lies behind a row of its key that comes again, or behind a letter, was not started, unless it has been
    // handed out and comes again itself.
    let suspects = "
        INSERT INTO catga_retry (seq, consumer, attempts, due, alone)
            SELECT queue.seq, queue.consumer, 0, 0, 1 FROM catga_queue AS queue
            JOIN catga_consumer AS consumer ON consumer.id = queue.consumer AND queue.seq <= consumer.started
            WHERE consumer.started > 0 AND (queue.key IS NULL
                OR EXISTS (SELECT 1 FROM catga_retry AS own WHERE own.seq = queue.seq)
                OR NOT EXISTS (SELECT 1 FROM catga_queue AS before JOIN catga_retry AS waits ON waits.seq = before.seq
                        WHERE before.consumer = queue.consumer AND before.key = queue.key AND before.seq < queue.seq)
                    AND NOT EXISTS (SELECT 1 FROM catga_letter AS letter
                        WHERE letter.consumer = consumer.name AND letter.parks = queue.key))
            ON CONFLICT (seq) DO UPDATE SET alone = 1;
        UPDATE catga_consumer SET started = 0 WHERE started <> 0;";
    transaction.execute_batch(suspects).map_err(failed)?;
    {
        let sql = "SELECT id, name, subject FROM catga_consumer LEFT JOIN catga_subscription ON consumer = id";
        let mut statement = transaction.prepare(sql).map_err(failed)?;
        let mut rows = statement.query(()).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            let (id, name): (i64, String) = (row.get(0).map_err(failed)?, row.get(1).map_err(failed)?);
            let subject: Option<String> = row.get(2).map_err(failed)?;
            shared.hub.add(id, &name, subject.as_deref());
        }
    }
    transaction.commit().map_err(failed)
}

/// Says that nothing was left started.
fn close(connection: &Connection) {
    if let Err(error) = connection.execute("UPDATE catga_consumer SET started = 0 WHERE started <> 0", ()) {
        tracing::warn!(%error, "closing: what was claimed will be tried one by one at the next start");
    }
}

fn writer(path: &Path, tool: bool) -> Result<Link> {
    let failed = |error| fault(error, "opening");
    let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    if !tool {
        flags |= OpenFlags::SQLITE_OPEN_CREATE;
    }
    let mut connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    busy(&mut connection).map_err(failed)?;
    // WAL and FULL: a commit is on the disk when it is answered, and readers never wait for the writer.
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0)).map_err(failed)?;
    if !mode.eq_ignore_ascii_case("wal") {
        let text = format!("the file cannot be in WAL mode (it says `{mode}`): it must lie on a local disk");
        return Err(Error::new(ErrorKind::Unsupported, text));
    }
    connection.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
    connection.pragma_update(None, "foreign_keys", true).map_err(failed)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    let guard = Guard::install(&mut connection).map_err(failed)?;
    Ok(Link { connection, guard })
}

fn reader(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    busy(&mut connection)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(connection)
}

/// One handler both polls and counts the wait: a timeout set beside it would replace it.
fn busy(connection: &mut Connection) -> rusqlite::Result<()> {
    let mut since = Instant::now();
    connection.busy_handler(Some(move |tries| {
        if tries == 0 {
            since = Instant::now();
        }
        thread::sleep(BUSY_POLL);
        since.elapsed() < BUSY_WAIT
    }))
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.close();
        let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.thread().id() != thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!(path = %self.path.display(), "the writing thread panicked");
        }
        // The file must be closed before its folder goes.
        self.readers.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
        if let Some(folder) = self.folder.take()
            && let Err(error) = folder.close()
        {
            tracing::warn!(%error, "a temporary store could not be removed");
        }
    }
}

impl std::fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sqlite").field("path", &self.inner.path).finish_non_exhaustive()
    }
}
