//! Each behavior around requests, without a store. Time is paused wherever something waits.
#![allow(clippy::unwrap_used)]

use catga::{
    App, Backoff, Behavior, BoxError, Builder, Call, Context, Error, ErrorKind, Handler, HandlerExt, Message, Request,
    SendOptions, State, behavior::*,
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, SystemTime},
};
use tokio::{sync::Notify, time::Instant};

/// What handlers saw, in order.
type Log = Arc<Mutex<Vec<String>>>;

/// Asks the test's function.
#[derive(Request, Clone)]
#[catga(name = "ask", reply = u32, local)]
struct Ask(u32);

/// The answer to an [`Ask`], by its number and the try, 1 or more.
struct Answers {
    answer: Box<dyn Fn(u32, u32) -> catga::Result<u32> + Send + Sync>,
    tries: AtomicU32,
}

async fn answer(Ask(number): Ask, answers: State<Answers>) -> catga::Result<u32> {
    (answers.answer)(number, answers.tries.fetch_add(1, Ordering::Relaxed) + 1)
}

fn asked(answer: impl Fn(u32, u32) -> catga::Result<u32> + Send + Sync + 'static) -> Builder {
    App::builder("test").state(Answers { answer: Box::new(answer), tries: AtomicU32::new(0) })
}

fn error(kind: ErrorKind) -> Error {
    Error::new(kind, "failed")
}

/// Notes when it begins and ends.
#[derive(Clone)]
struct Note(&'static str, Log);

impl<M: Message> Behavior<M> for Note {
    async fn around<H: Handler<M>>(&self, call: &mut Call<'_>, message: M, next: &H) -> catga::Result<M::Reply> {
        self.1.lock().unwrap().push(format!("{} begins", self.0));
        let answer = next.handle(call, message).await;
        self.1.lock().unwrap().push(format!("{} ends", self.0));
        answer
    }
}

#[tokio::test]
async fn the_first_behavior_is_the_outermost_and_those_of_the_builder_are_around_the_handlers() {
    let log = Log::default();
    let note = |name| Note(name, log.clone());
    let handler = answer.with(note("c")).with(note("d"));
    let app = asked(|_, _| Ok(1)).with(note("a")).with(note("b")).handle(handler).build().await.unwrap();
    app.send(Ask(1)).await.unwrap();
    let begun: Vec<String> = ["a", "b", "c", "d"].map(|name| format!("{name} begins")).into();
    let ended = ["d", "c", "b", "a"].map(|name| format!("{name} ends"));
    assert_eq!(*log.lock().unwrap(), [begun, ended.into()].concat());
}

impl Validated for Ask {
    fn validate(&self) -> Result<(), BoxError> {
        Problems::new()
            .unless(self.0 < 10, "0", "must be less than 10")
            .unless(self.0.is_multiple_of(2), "0", format!("must be even, not {}", self.0))
            .end()
    }
}

#[tokio::test]
async fn what_is_wrong_in_itself_never_reaches_the_handler() {
    let app = asked(|_, tries| Ok(tries)).with(Validate).handle(answer).build().await.unwrap();
    let error = app.send(Ask(11)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let text = "`ask` is not valid: 0 must be less than 10; 0 must be even, not 11";
    assert!(error.to_string().ends_with(text), "{error}");
    assert_eq!(error.source().downcast_ref::<Problems>().unwrap().iter().count(), 2);
    assert_eq!(app.send(Ask(4)).await.unwrap(), 1, "the first call of the handler");
}

#[tokio::test(start_paused = true)]
async fn a_retry_goes_by_the_kind_of_the_error() {
    use ErrorKind::*;
    let thrice = Retry::new(Backoff { attempts: 6, jitter: 0.0, ..Backoff::default() });
    let paused = Duration::from_millis(100 + 200 + 400 + 800 + 1600);
    let at_once = Duration::ZERO;
    let table = [
        (Handler, 6, paused),
        (NotFound, 6, paused),
        (Closed, 6, paused),
        (Timeout, 6, paused),
        (Unavailable, 6, paused),
        (Busy, 6, paused),
        (Conflict, 4, at_once),
        (Permanent, 1, at_once),
        (Invalid, 1, at_once),
        (Codec, 1, at_once),
        (NoHandler, 1, at_once),
        (Unsupported, 1, at_once),
    ];
    for (kind, expected, pauses) in table {
        let tries = Arc::new(AtomicU32::new(0));
        let seen = tries.clone();
        let fails = move |_, now| {
            seen.store(now, Ordering::Relaxed);
            Err(error(kind))
        };
        let app = asked(fails).with(thrice).handle(answer).build().await.unwrap();
        let began = Instant::now();
        assert_eq!(app.send(Ask(1)).await.unwrap_err().kind(), kind);
        assert_eq!(tries.load(Ordering::Relaxed), expected, "{kind:?}");
        let took = began.elapsed();
        assert!((pauses..pauses + Duration::from_millis(20)).contains(&took), "{kind:?}: {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_waits_as_long_as_the_error_says_unless_that_is_too_long() {
    let pause = Duration::from_secs(7);
    let fails = move |number, tries| match (number, tries) {
        (1, 1) => Err(error(ErrorKind::Busy).with_pause(pause)),
        (2, _) => Err(error(ErrorKind::Busy).with_pause(Duration::from_secs(31))),
        (_, tries) => Ok(tries),
    };
    let app = asked(fails).with(Retry::default()).handle(answer).build().await.unwrap();
    let began = Instant::now();
    assert_eq!(app.send(Ask(1)).await.unwrap(), 2);
    assert!((pause..pause * 2).contains(&began.elapsed()));
    let began = Instant::now();
    let error = app.send(Ask(2)).await.unwrap_err();
    assert_eq!(error.pause(), Some(Duration::from_secs(31)), "the caller is told");
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_retry_ends_before_the_deadline() {
    let app = asked(|_, _| Err(error(ErrorKind::Handler))).with(Retry::default()).handle(answer).build().await.unwrap();
    let deadline = Some(SystemTime::now() + Duration::from_millis(50));
    let began = Instant::now();
    let error = app.send_with(Ask(1), SendOptions { deadline, ..Default::default() }).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Handler, "the failure, not its end by the deadline");
    assert_eq!(began.elapsed(), Duration::ZERO, "the pause would end too late, so it is not waited for");
}

#[tokio::test(start_paused = true)]
async fn senseless_numbers_of_a_retry_are_bounded() {
    let senseless =
        Backoff { attempts: 0, first: Duration::MAX, factor: f64::NAN, most: Duration::MAX, jitter: f64::INFINITY };
    let app = asked(|_, _| Err(error(ErrorKind::Handler)));
    let app = app.with(Retry::new(senseless)).handle(answer).build().await.unwrap();
    let began = Instant::now();
    app.send(Ask(1)).await.unwrap_err();
    assert_eq!(began.elapsed(), Duration::ZERO, "one try");
    let senseless = Retry::new(Backoff { attempts: 3, ..senseless });
    let app = asked(|_, tries| if tries < 3 { Err(error(ErrorKind::Handler)) } else { Ok(tries) });
    let app = app.with(senseless).handle(answer).build().await.unwrap();
    assert_eq!(app.send(Ask(1)).await.unwrap(), 3);
    assert!(began.elapsed() <= Duration::from_secs(4 * 86_400), "two pauses of at most two days");
}

async fn never(_: Ask, log: State<Log>) -> catga::Result<u32> {
    struct Dropped(State<Log>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.lock().unwrap().push("dropped".into());
        }
    }
    log.lock().unwrap().push("begun".into());
    let _dropped = Dropped(log);
    std::future::pending().await
}

#[tokio::test(start_paused = true)]
async fn each_try_inside_a_retry_has_its_own_time_and_ends_with_it() {
    let log = Log::default();
    let twice = Retry::new(Backoff { attempts: 2, jitter: 0.0, ..Backoff::default() });
    let app = App::builder("test").state(log.clone()).with(twice).with(Timeout(Duration::from_secs(1))).handle(never);
    let app = app.build().await.unwrap();
    let began = Instant::now();
    let error = app.send(Ask(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.to_string().ends_with("`ask` was not answered within 1s"), "{error}");
    assert_eq!(began.elapsed().as_millis() / 10, 210, "two tries of a second and a pause of 100 ms");
    assert_eq!(*log.lock().unwrap(), ["begun", "dropped", "begun", "dropped"]);
}

/// The spans of one target with all that was recorded in them.
#[derive(Clone)]
struct Spans(&'static str, Arc<Mutex<BTreeMap<u64, BTreeMap<String, String>>>>);

impl Spans {
    fn of(target: &'static str) -> Self {
        Self(target, Arc::default())
    }

    fn take(&self) -> BTreeMap<String, String> {
        let spans = std::mem::take(&mut *self.1.lock().unwrap());
        assert_eq!(spans.len(), 1, "{spans:?}");
        spans.into_values().next().unwrap()
    }

    fn listen(&self) -> tracing::subscriber::DefaultGuard {
        use tracing_subscriber::layer::SubscriberExt;
        tracing::subscriber::set_default(tracing_subscriber::registry().with(self.clone()))
    }
}

struct Fields<'a>(&'a mut BTreeMap<String, String>);

impl tracing::field::Visit for Fields<'_> {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        self.0.insert(field.name().into(), format!("{value:?}").trim_matches('"').into());
    }
}

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Spans {
    fn on_new_span(
        &self,
        attributes: &tracing::span::Attributes<'_>,
        id: &tracing::span::Id,
        _: tracing_subscriber::layer::Context<'_, S>,
    ) {
        if attributes.metadata().target() == self.0 {
            attributes.record(&mut Fields(self.1.lock().unwrap().entry(id.into_u64()).or_default()));
        }
    }

    fn on_record(
        &self,
        id: &tracing::span::Id,
        values: &tracing::span::Record<'_>,
        _: tracing_subscriber::layer::Context<'_, S>,
    ) {
        if let Some(fields) = self.1.lock().unwrap().get_mut(&id.into_u64()) {
            values.record(&mut Fields(fields));
        }
    }
}

#[tokio::test]
async fn a_span_has_the_names_of_the_conventions() {
    let spans = Spans::of("catga::process");
    let _listening = spans.listen();
    let app = asked(|_, _| Ok(1)).with(Trace::system("catga_memory")).handle(answer).build().await.unwrap();
    app.send(Ask(1)).await.unwrap();
    let mut span = spans.take();
    let took: f64 = span.remove("messaging.process.duration").unwrap().parse().unwrap();
    assert!((0.0..1.0).contains(&took));
    let id = span.remove("messaging.message.id").unwrap();
    assert_eq!(span.remove("messaging.message.conversation_id"), Some(id));
    let expected = [
        ("messaging.destination.name", "catga.ask"),
        ("messaging.operation.name", "process"),
        ("messaging.operation.type", "process"),
        ("messaging.system", "catga_memory"),
        ("otel.kind", "internal"),
        ("otel.name", "process catga.ask"),
    ];
    assert_eq!(span, expected.map(|(name, value)| (name.into(), value.into())).into());
}

#[tokio::test]
async fn failures_panics_and_dropped_calls_stand_in_their_spans() {
    let spans = Spans::of("catga::process");
    let _listening = spans.listen();
    let fails = |number, _| match number {
        1 => Err(error(ErrorKind::NotFound).context("looking")),
        _ => panic!("oh {number}"),
    };
    let app = asked(fails).with(Trace::default()).with(CatchPanic).handle(answer).build().await.unwrap();
    app.send(Ask(1)).await.unwrap_err();
    let span = spans.take();
    assert_eq!((&*span["error.type"], &*span["otel.status_code"]), ("not_found", "ERROR"));
    assert_eq!(span["otel.status_description"], "looking: failed");
    // The panic is caught with tracing on, and the application goes on.
    for number in [2, 3] {
        let error = app.send(Ask(number)).await.unwrap_err();
        assert!(error.to_string().ends_with(&format!("the handler panicked: oh {number}")), "{error}");
        assert_eq!(spans.take()["error.type"], "handler");
    }

    // Caught outside the span, it is recorded as what it is.
    let app = asked(fails).with(CatchPanic).with(Trace::default()).handle(answer).build().await.unwrap();
    assert_eq!(app.send(Ask(2)).await.unwrap_err().kind(), ErrorKind::Handler);
    let span = spans.take();
    assert_eq!(span["error.type"], "panic");
    assert!(span.contains_key("messaging.process.duration"));
    assert_eq!(tracing::Span::current().id(), None, "no span was left entered");

    let app = App::builder("test").state(Log::default()).with(Trace::default()).handle(never).build().await.unwrap();
    let _ = tokio::time::timeout(Duration::from_millis(1), app.send(Ask(1))).await.unwrap_err();
    assert_eq!(spans.take()["error.type"], "dropped");
}

/// Counts who is at work; answers only when it is let go.
#[derive(Default)]
struct Gate {
    running: AtomicU32,
    most: AtomicU32,
    order: Mutex<Vec<u32>>,
    open: Notify,
}

async fn pass(Ask(number): Ask, gate: State<Arc<Gate>>) -> catga::Result<u32> {
    let running = gate.running.fetch_add(1, Ordering::SeqCst) + 1;
    gate.most.fetch_max(running, Ordering::SeqCst);
    gate.order.lock().unwrap().push(number);
    gate.open.notified().await;
    gate.running.fetch_sub(1, Ordering::SeqCst);
    Ok(number)
}

async fn gated<B: Behavior<Ask> + Clone>(behavior: B) -> (App, Arc<Gate>) {
    let gate = Arc::new(Gate::default());
    (App::builder("test").state(gate.clone()).with(behavior).handle(pass).build().await.unwrap(), gate)
}

async fn settled() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_calls_run_than_the_limit_and_the_others_come_in_their_order() {
    let (app, gate) = gated(ConcurrencyLimit::new(3)).await;
    let calls: Vec<_> = (0..10)
        .map(|number| {
            tokio::spawn({
                let app = app.clone();
                async move { app.send(Ask(number)).await }
            })
        })
        .collect();
    settled().await;
    assert_eq!(gate.running.load(Ordering::SeqCst), 3);
    for _ in 0..10 {
        gate.open.notify_one();
        settled().await;
    }
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(gate.most.load(Ordering::SeqCst), 3);
    assert_eq!(*gate.order.lock().unwrap(), Vec::from_iter(0..10));
}

#[tokio::test(start_paused = true)]
async fn who_finds_the_line_full_or_waits_too_long_is_told_busy() {
    let (app, gate) = gated(ConcurrencyLimit::new(1).queue(1)).await;
    let call = |number| {
        let app = app.clone();
        tokio::spawn(async move { app.send(Ask(number)).await })
    };
    let (first, second) = (call(1), call(2));
    settled().await;
    let began = Instant::now();
    let full = app.send(Ask(3)).await.unwrap_err();
    assert_eq!((full.kind(), began.elapsed()), (ErrorKind::Busy, Duration::ZERO));
    assert!(full.to_string().contains("`ask`: 1 at a time"), "{full}");
    let late = second.await.unwrap().unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Busy);
    assert_eq!(began.elapsed().as_millis() / 10, 500, "the patience");
    // Its place in the line is free again, and so is that of one that was dropped.
    let dropped = call(4);
    settled().await;
    dropped.abort();
    let last = call(5);
    settled().await;
    gate.open.notify_one();
    first.await.unwrap().unwrap();
    settled().await;
    gate.open.notify_one();
    assert_eq!(last.await.unwrap().unwrap(), 5);
}

#[cfg(feature = "rate-limit")]
#[tokio::test(start_paused = true)]
async fn calls_begin_at_the_rate_and_in_their_order() {
    let order = Arc::new(Mutex::new(Vec::new()));
    let began = Instant::now();
    let times = order.clone();
    let noted = move |number, _| {
        times.lock().unwrap().push((number, began.elapsed().as_millis() / 100));
        Ok(number)
    };
    let app = asked(noted).with(RateLimit::new(2, Duration::from_secs(1))).handle(answer).build().await.unwrap();
    for answer in app.send_batch((0..6).map(Ask), 6).await {
        answer.unwrap();
    }
    // A burst of two, then one each half second.
    assert_eq!(*order.lock().unwrap(), [(0, 0), (1, 0), (2, 5), (3, 10), (4, 15), (5, 20)]);
}

#[cfg(feature = "rate-limit")]
#[tokio::test(start_paused = true)]
async fn nobody_passes_those_who_wait_for_the_rate() {
    let mut look = std::task::Context::from_waker(std::task::Waker::noop());
    let limit = RateLimit::new(1, Duration::from_secs(1));
    let app = asked(|number, _| Ok(number)).with(limit).handle(answer).build().await.unwrap();
    app.send(Ask(0)).await.unwrap();
    let (mut first, mut second) = (Box::pin(app.send(Ask(1))), Box::pin(app.send(Ask(2))));
    assert!(first.as_mut().poll(&mut look).is_pending());
    tokio::time::advance(Duration::from_secs(1)).await;
    // There is a turn now, and the first one was not looked at yet.
    assert!(second.as_mut().poll(&mut look).is_pending());
    assert_eq!(first.await.unwrap(), 1);
    assert_eq!(second.await.unwrap(), 2);
}

#[cfg(feature = "rate-limit")]
#[tokio::test(start_paused = true)]
async fn who_would_wait_too_long_for_the_rate_is_told_busy_and_until_when() {
    let limit = RateLimit::new(1, Duration::from_secs(10)).burst(2);
    let app = asked(|_, tries| Ok(tries)).with(limit).handle(answer).build().await.unwrap();
    app.send(Ask(1)).await.unwrap();
    app.send(Ask(2)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(4)).await;
    let began = Instant::now();
    let late = app.send(Ask(3)).await.unwrap_err();
    assert_eq!((late.kind(), late.pause()), (ErrorKind::Busy, Some(Duration::from_secs(6))));
    assert_eq!(began.elapsed().as_millis() / 10, 500, "the patience");
    assert_eq!(app.send(Ask(4)).await.unwrap(), 3, "after a second more");

    let limit = RateLimit::new(1, Duration::from_secs(4)).queue(1);
    let app = asked(|_, tries| Ok(tries)).with(limit).handle(answer).build().await.unwrap();
    let answers = app.send_batch((0..3).map(Ask), 3).await;
    let kinds: Vec<_> = answers.into_iter().map(|answer| answer.map_err(|error| error.kind())).collect();
    assert_eq!(kinds, [Ok(1), Ok(2), Err(ErrorKind::Busy)], "one waits, no second one");
}

#[cfg(feature = "rate-limit")]
#[tokio::test(start_paused = true)]
async fn senseless_numbers_of_limits_are_bounded() {
    let passes = async |app: Builder<((), RateLimit)>| app.handle(answer).build().await.unwrap().send(Ask(1)).await;
    let numbers = [(0, Duration::ZERO), (u32::MAX, Duration::ZERO), (0, Duration::MAX), (u32::MAX, Duration::MAX)];
    for (calls, per) in numbers {
        let limit = RateLimit::new(calls, per).patience(Duration::MAX).queue(usize::MAX);
        assert_eq!(passes(asked(|_, tries| Ok(tries)).with(limit.clone())).await.unwrap(), 1);
        assert_eq!(passes(asked(|_, tries| Ok(tries)).with(limit.burst(u32::MAX))).await.unwrap(), 1);
    }
    let none = ConcurrencyLimit::new(0).patience(Duration::MAX).queue(usize::MAX);
    let open = CircuitBreaker::new().calls(0).ratio(f64::NAN).window(Duration::ZERO).open_for(Duration::MAX).probes(0);
    let app = asked(|_, _| Err(error(ErrorKind::Timeout))).with(none).with(open).handle(answer).build().await.unwrap();
    assert_eq!(app.send(Ask(1)).await.unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(app.send(Ask(1)).await.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn what_keeps_failing_is_left_alone_for_a_while() {
    let healthy = Arc::new(AtomicU32::new(0));
    let state = healthy.clone();
    let fails = move |number, _| match number {
        1 => Err(error(ErrorKind::Invalid)),
        _ if state.load(Ordering::Relaxed) == 0 => Err(error(ErrorKind::Timeout)),
        _ => Ok(number),
    };
    let breaker = CircuitBreaker::new().calls(10);
    let app = asked(fails).with(breaker.clone()).handle(answer).build().await.unwrap();
    let kind = async |number| app.send(Ask(number)).await.map_err(|error| error.kind());
    for _ in 0..20 {
        assert_eq!(kind(1).await, Err(ErrorKind::Invalid));
    }
    assert_eq!(breaker.state(), Circuit::Closed, "a refusal shows that somebody is there");
    for _ in 0..19 {
        assert_eq!(kind(2).await, Err(ErrorKind::Timeout));
    }
    assert_eq!(breaker.state(), Circuit::Closed, "19 of 39");
    assert_eq!(kind(2).await, Err(ErrorKind::Timeout));
    assert_eq!(breaker.state(), Circuit::Open, "20 of 40");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let refused = app.send(Ask(2)).await.unwrap_err();
    assert_eq!((refused.kind(), refused.pause()), (ErrorKind::Unavailable, Some(Duration::from_secs(3))));
    assert!(refused.to_string().contains("`ask` keeps failing"), "{refused}");

    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(kind(2).await, Err(ErrorKind::Timeout), "one tries");
    assert_eq!(kind(2).await, Err(ErrorKind::Unavailable), "and it opened again");
    tokio::time::sleep(Duration::from_secs(5)).await;
    healthy.store(1, Ordering::Relaxed);
    assert_eq!(kind(2).await, Ok(2));
    assert_eq!(breaker.state(), Circuit::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_half_open_breaker_lets_one_try_and_forgets_one_that_was_dropped() {
    let breaker = CircuitBreaker::new().calls(1).open_for(Duration::from_secs(1));
    let (app, gate) = gated(breaker.clone()).await;
    let broken =
        asked(|_, _| panic!("oh")).with(CatchPanic).with(breaker.clone()).handle(answer).build().await.unwrap();
    broken.send(Ask(0)).await.unwrap_err();
    assert_eq!(breaker.state(), Circuit::Open, "a panic is a failure, and clones share the state");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let probe = tokio::spawn({
        let app = app.clone();
        async move { app.send(Ask(1)).await }
    });
    settled().await;
    let second = app.send(Ask(2)).await.unwrap_err();
    assert_eq!(second.kind(), ErrorKind::Unavailable);
    probe.abort();
    probe.await.unwrap_err();
    assert_eq!(breaker.state(), Circuit::HalfOpen);
    gate.open.notify_one();
    assert_eq!(app.send(Ask(3)).await.unwrap(), 3);
    assert_eq!(breaker.state(), Circuit::Closed);
    assert_eq!(*gate.order.lock().unwrap(), [1, 3]);
}

#[tokio::test]
async fn a_rule_decides_who_may_ask() {
    let own = Authorize::by(|cx: &Context, Ask(number): &Ask| *number == 0 || cx.principal.as_deref() == Some("ann"));
    let app = asked(|_, tries| Ok(tries)).with(own).handle(answer).build().await.unwrap();
    let by = |principal: &str| SendOptions { principal: Some(principal.into()), ..Default::default() };
    let denied = app.send_with(Ask(1), by("bob")).await.unwrap_err();
    assert_eq!(denied.kind(), ErrorKind::Permanent);
    assert!(denied.to_string().ends_with("`bob` may not ask for `ask`"), "{denied}");
    let nobody = app.send(Ask(1)).await.unwrap_err();
    assert_eq!(nobody.source().downcast_ref::<Forbidden>().unwrap().principal(), None);
    assert_eq!(app.send_with(Ask(1), by("ann")).await.unwrap(), 1, "the first call of the handler");
    assert_eq!(app.send(Ask(0)).await.unwrap(), 2);
}

#[tokio::test]
async fn a_rule_that_cannot_decide_lets_nobody_pass() {
    #[derive(Clone)]
    struct Directory;
    impl<M: Message> Authorizer<M> for Directory {
        async fn allows(&self, _: &Context, _: &M) -> catga::Result<bool> {
            tokio::task::yield_now().await;
            Err(error(ErrorKind::Unavailable))
        }
    }
    let app = asked(|_, _| panic!("handled")).with(Authorize::by(Directory)).handle(answer).build().await.unwrap();
    assert_eq!(app.send(Ask(1)).await.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[cfg(feature = "cache")]
mod cache {
    use super::*;

    impl CacheKey for Ask {
        type Key = u32;
        fn cache_key(&self) -> u32 {
            self.0
        }
    }

    /// Refuses odd numbers.
    #[derive(Request, Clone)]
    #[catga(name = "halve", reply = Result<u32, u32>, local)]
    struct Halve(u32);

    impl CacheKey for Halve {
        type Key = u32;
        fn cache_key(&self) -> u32 {
            self.0
        }
    }

    fn minute<M: Message<Reply: Clone + Sync> + CacheKey>() -> Cache<M> {
        Cache::new(100, Duration::from_secs(60))
    }

    #[tokio::test]
    async fn only_answers_that_are_kept_are_answered_again() {
        let fails = |number, tries| if number == 1 { Err(error(ErrorKind::NotFound)) } else { Ok(tries) };
        let answers = minute();
        let app = asked(fails).handle(answer.with(answers.clone())).build().await.unwrap();
        assert_eq!(app.send(Ask(2)).await.unwrap(), 1);
        assert_eq!(app.send(Ask(2)).await.unwrap(), 1);
        assert_eq!(app.send(Ask(3)).await.unwrap(), 2, "another key");
        for _ in 0..2 {
            assert_eq!(app.send(Ask(1)).await.unwrap_err().kind(), ErrorKind::NotFound);
        }
        assert_eq!(app.send(Ask(4)).await.unwrap(), 5, "the failure was looked for twice");
        answers.clear();
        assert_eq!(app.send(Ask(2)).await.unwrap(), 6);

        async fn halve(Halve(number): Halve, tries: State<AtomicU32>) -> catga::Result<Result<u32, u32>> {
            let tries = tries.fetch_add(1, Ordering::Relaxed);
            Ok(if number.is_multiple_of(2) { Ok(number / 2) } else { Err(tries) })
        }
        let app = App::builder("test").state(AtomicU32::new(0)).handle(halve.with(minute())).build().await.unwrap();
        assert_eq!(app.send(Halve(3)).await.unwrap(), Err(0));
        assert_eq!(app.send(Halve(3)).await.unwrap(), Err(1), "a refusal is not kept");
    }

    #[tokio::test]
    async fn an_answer_ends_with_its_time() {
        let short = Cache::new(100, Duration::from_millis(5));
        let app = asked(|_, tries| Ok(tries)).handle(answer.with(short)).build().await.unwrap();
        assert_eq!(app.send(Ask(1)).await.unwrap(), 1);
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(app.send(Ask(1)).await.unwrap(), 2);
    }

    #[tokio::test]
    async fn equal_requests_at_a_time_are_one() {
        let (app, gate) = gated(minute()).await;
        let calls: Vec<_> = (0..8)
            .map(|_| {
                tokio::spawn({
                    let app = app.clone();
                    async move { app.send(Ask(1)).await }
                })
            })
            .collect();
        settled().await;
        assert_eq!(*gate.order.lock().unwrap(), [1]);
        // The one at work is dropped: the next takes over.
        calls[0].abort();
        settled().await;
        assert_eq!(*gate.order.lock().unwrap(), [1, 1]);
        gate.open.notify_one();
        for (at, call) in calls.into_iter().enumerate() {
            match at {
                0 => assert!(call.await.unwrap_err().is_cancelled()),
                _ => assert_eq!(call.await.unwrap().unwrap(), 1),
            }
        }
        assert_eq!(*gate.order.lock().unwrap(), [1, 1]);
    }

    #[tokio::test]
    async fn those_who_waited_share_a_failure_with_its_kind_and_cause() {
        async fn fail(_: Ask, tries: State<Arc<AtomicU32>>) -> catga::Result<u32> {
            settled().await;
            tries.fetch_add(1, Ordering::Relaxed);
            Err(Error::retry_after(Problems::new().unless(false, "a", "b").end().unwrap_err(), Duration::from_secs(3)))
        }
        let tries = Arc::new(AtomicU32::new(0));
        let app = App::builder("test").state(tries.clone()).handle(fail.with(minute())).build().await.unwrap();
        for error in app.send_batch([Ask(1), Ask(1), Ask(1)], 3).await.into_iter().map(Result::unwrap_err) {
            assert_eq!((error.kind(), error.pause()), (ErrorKind::Handler, Some(Duration::from_secs(3))));
            assert!(error.to_string().ends_with("a b"), "{error}");
            let own: &(dyn std::error::Error + 'static) = error.source();
            assert!(own.is::<Problems>() || own.source().is_some_and(<dyn std::error::Error>::is::<Problems>));
        }
        assert_eq!(tries.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_cache_without_room_keeps_nothing() {
        let app = asked(|_, tries| Ok(tries)).handle(answer.with(Cache::new(0, Duration::MAX))).build().await.unwrap();
        assert_eq!(app.send(Ask(1)).await.unwrap(), 1);
        assert_eq!(app.send(Ask(1)).await.unwrap(), 2);
    }
}

#[cfg(all(feature = "sqlite", feature = "json"))]
mod consumed {
    use super::*;
    use catga::{Event, Tx, sqlite::Sqlite};
    use serde::{Deserialize, Serialize};

    #[derive(Event, Clone, Serialize, Deserialize)]
    #[catga(name = "happened")]
    struct Happened(u64);

    #[derive(Event, Clone, Serialize, Deserialize)]
    #[catga(name = "happened.at.length")]
    struct Long(String);

    async fn write(Happened(number): Happened, mut tx: Tx<Sqlite>) -> catga::Result<()> {
        tx.execute("INSERT INTO happened (number) VALUES (?1)", [number])?;
        if number == 0 { panic!("oh") } else { Ok(()) }
    }

    async fn store() -> Sqlite {
        Sqlite::temporary().await.unwrap().migrate(&["CREATE TABLE happened (number INTEGER)"]).await.unwrap()
    }

    fn numbers(store: &Sqlite) -> Vec<u64> {
        let sql = "SELECT number FROM happened ORDER BY 1";
        store.read(|db| db.prepare(sql)?.query_map((), |row| row.get(0))?.collect()).unwrap()
    }

    /// Whose first failure is its last.
    fn strict(store: &Sqlite) -> Builder {
        App::builder("shop").store(store.clone()).backoff(Backoff { attempts: 1, ..Backoff::default() })
    }

    #[tokio::test]
    async fn the_span_of_a_delivery_names_its_consumer_and_a_panic_in_it_is_isolated() {
        let (spans, store) = (Spans::of("catga::process"), store().await);
        let _listening = spans.listen();
        let app = strict(&store).with(Trace::system("catga_sqlite")).with(CatchPanic).on("mail", write);
        let app = app.build().await.unwrap();
        for (number, failure) in [(1, None), (0, Some("handler")), (2, None)] {
            let id = app.publish(Happened(number)).await.unwrap();
            app.run_until_idle().await.unwrap();
            let span = spans.take();
            assert_eq!(span["otel.kind"], "consumer");
            assert_eq!(span["otel.name"], "process catga.happened");
            assert_eq!(span["messaging.system"], "catga_sqlite");
            assert_eq!(span["messaging.consumer.group.name"], "shop.mail");
            assert_eq!(span["messaging.message.id"], id.to_string());
            assert_eq!(span.get("error.type").map(String::as_str), failure);
        }
        assert_eq!(numbers(&store), [1, 2]);
    }

    #[tokio::test]
    async fn what_leaves_has_a_span_by_the_names_of_the_conventions() {
        #[derive(Request, Serialize, Deserialize)]
        #[catga(name = "begin", reply = ())]
        struct Begin(u64);

        async fn begin(Begin(count): Begin, mut tx: Tx<Sqlite>) -> catga::Result<()> {
            (1..=count).try_for_each(|number| tx.publish(Happened(number)).map(drop))
        }

        let (spans, store) = (Spans::of("catga::send"), store().await);
        let created = Spans::of("catga::create");
        let _listening = {
            use tracing_subscriber::layer::SubscriberExt;
            tracing::subscriber::set_default(tracing_subscriber::registry().with(spans.clone()).with(created.clone()))
        };
        let app = strict(&store).handle(begin).on("mail", write).build().await.unwrap();
        let id = app.publish(Happened(1)).await.unwrap().to_string();
        let mut expected = BTreeMap::from(
            [
                ("messaging.destination.name", "catga.happened"),
                ("messaging.message.conversation_id", &id),
                ("messaging.message.id", &id),
                ("messaging.operation.name", "send"),
                ("messaging.operation.type", "send"),
                ("messaging.system", "catga_sqlite"),
                ("otel.kind", "producer"),
                ("otel.name", "send catga.happened"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        assert_eq!(spans.take(), expected);

        app.send(Begin(1)).await.unwrap();
        app.run_until_idle().await.unwrap();
        let (created, mut sent) = (created.take(), spans.take());
        sent.remove("messaging.system");
        sent.extend([
            ("messaging.operation.name".into(), "create".into()),
            ("messaging.operation.type".into(), "create".into()),
            ("otel.name".into(), "create catga.happened".into()),
        ]);
        assert_eq!(created, sent, "what a handler publishes is created there and leaves later");

        app.send(Begin(2)).await.unwrap();
        app.run_until_idle().await.unwrap();
        expected.retain(|name, _| !name.starts_with("messaging.message."));
        expected.insert("messaging.batch.message_count".into(), "2".into());
        assert_eq!(spans.take(), expected, "the relay carries a batch");

        let large = Long("x".repeat(16 * 1024 * 1024));
        app.publish(large).await.unwrap_err();
        let span = spans.take();
        assert_eq!((span["error.type"].as_str(), span["otel.status_code"].as_str()), ("invalid", "ERROR"));
    }

    #[tokio::test]
    async fn a_message_carries_the_trace_of_its_cause_or_the_one_that_is_named() {
        #[derive(Request, Serialize, Deserialize)]
        #[catga(name = "begin", reply = ())]
        struct Begin(Option<[u8; 16]>);

        async fn begin(Begin(other): Begin, mut tx: Tx<Sqlite>) -> catga::Result<()> {
            let trace = other.map(|_| OTHER);
            tx.publish_with(Happened(1), catga::PublishOptions { trace, ..Default::default() }).map(drop)
        }

        const OWN: [u8; 55] = *b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        const OTHER: [u8; 55] = *b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let store = store().await;
        let app = strict(&store).handle(begin).build().await.unwrap();
        for other in [None, Some([0; 16])] {
            let options = SendOptions { trace: Some(OWN), ..Default::default() };
            app.send_with(Begin(other), options).await.unwrap();
        }
        let sql = "SELECT frame FROM catga_outbox ORDER BY seq";
        let frames: Vec<Vec<u8>> =
            store.read(|db| db.prepare(sql)?.query_map((), |row| row.get(0))?.collect()).unwrap();
        let traces = frames.into_iter().map(|frame| catga::Envelope::decode(&frame.into()).unwrap().trace);
        assert_eq!(traces.collect::<Vec<_>>(), [Some(OWN), Some(OTHER)]);
    }

    #[cfg(feature = "rate-limit")]
    #[tokio::test]
    async fn deliveries_over_the_rate_come_again_and_none_is_lost_or_counted() {
        let store = store().await;
        let limit = RateLimit::new(1, Duration::from_millis(20));
        let app = strict(&store).with(limit).on("mail", write).build().await.unwrap();
        for number in 1..=4 {
            app.publish(Happened(number)).await.unwrap();
        }
        let began = std::time::Instant::now();
        app.run_until_idle().await.unwrap();
        assert!(began.elapsed() >= Duration::from_millis(60), "one each 20 ms, the first at once");
        assert_eq!(numbers(&store), [1, 2, 3, 4]);
    }

    #[cfg(feature = "cache")]
    impl CacheKey for Happened {
        type Key = ();
        fn cache_key(&self) {}
    }

    #[cfg(feature = "cache")]
    #[tokio::test]
    async fn a_consumed_message_is_handled_whatever_is_cached() {
        let store = store().await;
        let cache = Cache::new(10, Duration::from_secs(60));
        let app = strict(&store).on("mail", write.with(cache)).build().await.unwrap();
        for number in 1..=3 {
            app.publish(Happened(number)).await.unwrap();
        }
        app.run_until_idle().await.unwrap();
        assert_eq!(numbers(&store), [1, 2, 3]);
    }
}
