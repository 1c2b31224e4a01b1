use super::line::holds_unit;
use crate::Backoff;
use catga_contract::{Behavior, Call, Error, ErrorKind, Handler, Message, Result};
use std::time::{Duration, SystemTime};

/// Tries a call again that failed with something that may pass.
///
/// | kind | tried again |
/// |---|---|
/// | `Conflict` | at once, three times |
/// | `Handler`, `NotFound`, `Closed`, `Timeout`, `Unavailable`, `Busy` | after the error's own [pause](Error::pause), else that of the [`Backoff`] |
/// | `Permanent`, `Invalid`, `Codec`, `NoHandler`, `Unsupported` | never |
///
/// All tries together are at most [`Backoff::attempts`], the first one included; the answer is the last one's. A pause
/// that an error asks for and that is longer than [`Backoff::most`], or one that would end behind the call's deadline,
/// is not waited for. Each try gets a clone of the message and, where it takes a `Tx`, a savepoint of its own: what a
/// failed try wrote and published is gone. A request gives its turn to write back while it waits, so others write.
///
/// **In a consumer** the worker is the one that retries: it hands a failed delivery over again after a pause that
/// survives a crash, and meanwhile holds nothing. This behavior sleeps there for at most 10 ms in total, because the
/// delivery shares its transaction, and so the store's only writer, with others; where the next pause is longer, the
/// error goes to the worker. With the default backoff of 100 ms it thus retries conflicts alone; with one of 1 ms it
/// spares a consumer the way back to the queue for failures that pass at once. Its tries are one attempt of the worker.
///
/// ```
/// use catga::{App, Backoff, Request, State, behavior::Retry};
/// use std::{sync::atomic::{AtomicU32, Ordering}, time::Duration};
///
/// #[derive(Request, Clone)]
/// #[catga(name = "rates.ask", reply = u32, local)]
/// struct AskRates;
///
/// async fn ask(_: AskRates, tries: State<AtomicU32>) -> Result<u32, &'static str> {
///     match tries.fetch_add(1, Ordering::Relaxed) + 1 {
///         3 => Ok(3),
///         _ => Err("the line is bad"),
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> catga::Result<()> {
/// let patient = Retry::new(Backoff { attempts: 10, ..Backoff::default() });
/// let app = App::builder("shop").state(AtomicU32::new(0)).with(patient).handle(ask).build().await?;
/// let began = tokio::time::Instant::now();
/// assert_eq!(app.send(AskRates).await?, 3);
/// assert!((240..=365).contains(&began.elapsed().as_millis())); // 100 ms and 200 ms, each 20 % more or less
/// # Ok(())
/// # }
/// ```
///
/// # Cancel safety
///
/// A dropped call is not tried again.
#[derive(Clone, Copy, Debug, Default)]
pub struct Retry {
    backoff: Backoff,
}

/// How long a call may sleep in total that holds a unit of work, or stands in a consumer.
const HELD: Duration = Duration::from_millis(10);
const DAY: Duration = Duration::from_secs(86_400);
/// How often a conflict is tried again.
const CONFLICTS: u32 = 3;

impl Retry {
    /// Tries by that backoff. Numbers beyond their bounds count as the nearest bound, a pause at most as a day.
    pub fn new(backoff: Backoff) -> Self {
        let Backoff { attempts, first, factor, most, jitter } = backoff;
        let bounded = |number: f64, least: f64, most: f64| if number >= least { number.min(most) } else { least };
        let (factor, jitter) = (bounded(factor, 1.0, 100.0), bounded(jitter, 0.0, 1.0));
        Self {
            backoff: Backoff { attempts: attempts.max(1), first: first.min(DAY), factor, most: most.min(DAY), jitter },
        }
    }
}

/// How a call went so far.
struct Course {
    /// Whether it holds what others wait for: the unit of a worker, or of the call that this one is part of.
    held: bool,
    tries: u32,
    conflicts: u32,
    /// Failures that were paused for.
    failures: u32,
    asleep: Duration,
}

impl Retry {
    /// The pause before another try, if there is one.
    fn pause(&self, course: &mut Course, call: &mut Call<'_>, error: &Error) -> Option<Duration> {
        let asked = error.pause();
        if asked.is_some_and(|asked| asked > self.backoff.most) {
            return None;
        }
        let pause = match error.kind() {
            ErrorKind::Permanent
            | ErrorKind::Invalid
            | ErrorKind::Codec
            | ErrorKind::NoHandler
            | ErrorKind::Unsupported => return None,
            ErrorKind::Conflict if course.conflicts == CONFLICTS => return None,
            ErrorKind::Conflict => {
                course.conflicts += 1;
                Duration::ZERO
            }
            _ => {
                course.failures += 1;
                asked.unwrap_or_else(|| self.backoff.pause(course.failures))
            }
        };
        let context = call.context();
        let holds = course.held || !context.consumer.is_empty();
        course.asleep = course.asleep.saturating_add(pause);
        if holds && course.asleep > HELD {
            return None;
        }
        let left = context.deadline.map(|deadline| deadline.duration_since(SystemTime::now()).unwrap_or_default());
        if left.is_some_and(|left| left <= pause) {
            return None;
        }
        Some(pause)
    }
}

impl<M: Message + Clone> Behavior<M> for Retry {
    async fn around<H: Handler<M>>(&self, call: &mut Call<'_>, message: M, next: &H) -> Result<M::Reply> {
        let mut course = Course { held: holds_unit(call), tries: 1, conflicts: 0, failures: 0, asleep: Duration::ZERO };
        while course.tries < self.backoff.attempts {
            let error = match next.handle(call, message.clone()).await {
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            };
            let Some(pause) = self.pause(&mut course, call, &error) else { return Err(error) };
            if !course.held {
                // The try opened it, and nothing in it is to be kept: others may write meanwhile.
                drop(call.take_unit());
            }
            let tries = course.tries;
            tracing::debug!(
                target: "catga::retry", message = M::NAME, tries, ?pause, error = format_args!("{error:#}"), "tried again"
            );
            drop(error);
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            course.tries += 1;
        }
        next.handle(call, message).await
    }
}
