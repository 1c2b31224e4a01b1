//! Behaviors around handlers that write: for requests and for consumed events, what fails leaves nothing.
#![allow(clippy::unwrap_used)]

mod common;

use catga::{
    App, Backoff, Behavior, BoxError, Builder, Call, Context, Error, ErrorKind, Handler, HandlerExt, Message, State,
    Tx, behavior::*, sqlite::Sqlite,
};
use common::*;
use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

/// What a handler does after it wrote.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Fail(ErrorKind),
    Panic,
    Hang,
}

/// What handlers do in their first tries, and the attempts that they saw. Behind the last deed they answer.
#[derive(Clone, Default)]
struct Deeds(Arc<Mutex<(Vec<Deed>, Vec<u32>)>>);

impl Deeds {
    fn new(deeds: impl IntoIterator<Item = Deed>) -> Self {
        Self(Arc::new(Mutex::new((deeds.into_iter().collect(), Vec::new()))))
    }

    async fn next(&self, attempt: u32) -> catga::Result<()> {
        let deed = {
            let (deeds, attempts) = &mut *self.0.lock().unwrap();
            attempts.push(attempt);
            if deeds.is_empty() { None } else { Some(deeds.remove(0)) }
        };
        match deed {
            None => Ok(()),
            Some(Deed::Fail(kind)) => Err(Error::new(kind, "failed")),
            Some(Deed::Panic) => panic!("oh"),
            Some(Deed::Hang) => std::future::pending().await,
        }
    }

    fn attempts(&self) -> Vec<u32> {
        self.0.lock().unwrap().1.clone()
    }
}

/// Can be tried again.
#[derive(catga::Request, Clone)]
#[catga(name = "orders.order", reply = u64, local)]
struct Order(u64);

/// Goes to a consumer, too.
#[derive(catga::Request, Clone, serde::Serialize, serde::Deserialize)]
#[catga(name = "audit")]
struct Audit(u64);

/// Writes an order and publishes it, then does its deed with the `Tx` in hand.
async fn order(Order(id): Order, mut tx: Tx<Sqlite>, deeds: State<Deeds>) -> catga::Result<u64> {
    tx.execute("INSERT INTO orders (id) VALUES (?1)", [id])?;
    tx.publish(Placed { id })?;
    deeds.next(1).await?;
    Ok(id)
}

/// Writes a mail, then does its deed with the `Tx` in hand.
async fn post(Placed { id }: Placed, mut tx: Tx<Sqlite>, deeds: State<Deeds>, cx: Context) -> catga::Result<()> {
    tx.execute("INSERT INTO mails (order_id, consumer) VALUES (?1, ?2)", (id, cx.consumer.as_str()))?;
    deeds.next(cx.attempt).await
}

fn builder(store: &Sqlite, deeds: &Deeds) -> Builder {
    App::builder("shop").store(store.clone()).state(deeds.clone()).backoff(quick(5))
}

fn orders(store: &Sqlite) -> Vec<i64> {
    numbers(store, "SELECT id FROM orders ORDER BY 1")
}

fn mails(store: &Sqlite) -> Vec<i64> {
    numbers(store, "SELECT order_id FROM mails ORDER BY 1")
}

fn letter(store: &Sqlite) -> String {
    text(store, "SELECT attempts || ' ' || reason FROM catga_letter")
}

/// Pauses that fit into a consumer.
fn swift() -> Retry {
    Retry::new(quick(5))
}

const FAIL: Deed = Deed::Fail(ErrorKind::Handler);

#[tokio::test]
async fn a_retry_around_a_handler_that_wrote_and_failed_twice_leaves_one_row() {
    let (store, deeds) = (temporary().await, Deeds::new([FAIL, FAIL]));
    let app = builder(&store, &deeds).with(Retry::default()).handle(order).build().await.unwrap();
    assert_eq!(app.send(Order(7)).await.unwrap(), 7);
    assert_eq!(deeds.attempts(), [1, 1, 1]);
    assert_eq!(orders(&store), [7]);
    assert_eq!(count(&store, "SELECT count(*) FROM catga_outbox"), 1, "what failed tries published is gone, too");

    let (store, deeds) = (temporary().await, Deeds::new([FAIL, FAIL]));
    let app = builder(&store, &deeds).handle(place).with(swift()).on("mail", post).build().await.unwrap();
    app.send(Place(7)).await.unwrap().unwrap();
    app.run_until_idle().await.unwrap();
    assert_eq!(deeds.attempts(), [1, 1, 1], "all in the worker's first attempt");
    assert_eq!(mails(&store), [7]);
    assert_eq!(count(&store, "SELECT count(*) FROM catga_inbox"), 1);
}

#[tokio::test]
async fn in_a_consumer_long_pauses_are_the_workers() {
    let (store, deeds) = (temporary().await, Deeds::new([FAIL, FAIL]));
    let app = builder(&store, &deeds).handle(place).with(Retry::default()).on("mail", post).build().await.unwrap();
    app.send(Place(7)).await.unwrap().unwrap();
    app.run_until_idle().await.unwrap();
    assert_eq!(deeds.attempts(), [1, 2, 3]);
    assert_eq!(mails(&store), [7]);

    // Three pauses of 4 ms are one too many.
    let most = Duration::from_millis(4);
    let four = Retry::new(Backoff { first: most, most, jitter: 0.0, ..quick(9) });
    let (store, deeds) = (temporary().await, Deeds::new([FAIL; 5]));
    let app = builder(&store, &deeds).handle(place).with(four).on("mail", post).build().await.unwrap();
    app.send(Place(7)).await.unwrap().unwrap();
    app.run_until_idle().await.unwrap();
    assert_eq!(deeds.attempts(), [1, 1, 1, 2, 2, 2]);
    assert_eq!(mails(&store), [7]);
}

#[tokio::test]
async fn a_conflict_in_a_consumer_is_tried_again_at_once() {
    let (store, deeds) = (temporary().await, Deeds::new([Deed::Fail(ErrorKind::Conflict); 4]));
    let app = builder(&store, &deeds).handle(place).with(Retry::default()).on("mail", post).build().await.unwrap();
    app.send(Place(7)).await.unwrap().unwrap();
    app.run_until_idle().await.unwrap();
    assert_eq!(deeds.attempts(), [1, 1, 1, 1, 2]);
    assert_eq!(mails(&store), [7]);
}

#[tokio::test]
async fn while_a_retry_sleeps_others_write() {
    let (store, deeds) = (temporary().await, Deeds::new([FAIL]));
    let half = Retry::new(Backoff { first: Duration::from_millis(500), ..Backoff::default() });
    let app = builder(&store, &deeds).with(half).handle(order).build().await.unwrap();
    let other = App::builder("other").store(store.clone()).handle(place).build().await.unwrap();
    let (slow, ()) = tokio::join!(app.send(Order(1)), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        other.send(Place(2)).await.unwrap().unwrap();
        assert_eq!(orders(&store), [2], "committed before the second try");
        assert_eq!(deeds.attempts(), [1]);
    });
    slow.unwrap();
    assert_eq!(orders(&store), [1, 2]);
}

#[tokio::test]
async fn a_failure_a_panic_and_a_timeout_leave_no_row_of_a_request() {
    for (deed, kind) in
        [(FAIL, ErrorKind::Handler), (Deed::Panic, ErrorKind::Handler), (Deed::Hang, ErrorKind::Timeout)]
    {
        let (store, deeds) = (temporary().await, Deeds::new([deed]));
        let short = Timeout(Duration::from_millis(50));
        let app = builder(&store, &deeds).with(Trace::default()).with(CatchPanic).with(short);
        let app = app.handle(order).build().await.unwrap();
        assert_eq!(app.send(Order(1)).await.unwrap_err().kind(), kind, "{deed:?}");
        assert_eq!(orders(&store), [0_i64; 0], "{deed:?}");
        assert_eq!(app.send(Order(2)).await.unwrap(), 2, "the writer came home");
        assert_eq!(orders(&store), [2], "{deed:?}");
    }
}

#[tokio::test]
async fn a_failure_a_panic_and_a_timeout_leave_no_row_of_a_delivery_and_it_comes_again() {
    for deed in [FAIL, Deed::Panic, Deed::Hang] {
        let (store, deeds) = (temporary().await, Deeds::new([deed]));
        let short = Timeout(Duration::from_millis(50));
        let app = builder(&store, &deeds).handle(place).with(Trace::default()).with(CatchPanic).with(short);
        let app = app.on("mail", post).build().await.unwrap();
        for id in [1, 2] {
            app.send(Place(id)).await.unwrap().unwrap();
        }
        app.run_until_idle().await.unwrap();
        assert_eq!(deeds.attempts(), [1, 1, 2], "{deed:?}: the second one, and the first one again");
        assert_eq!(mails(&store), [1, 2], "{deed:?}");
    }
}

#[tokio::test]
async fn panics_and_timeouts_inside_a_retry_are_tried_again() {
    let deeds = [Deed::Panic, Deed::Hang, FAIL];
    let (store, deeds) = (temporary().await, Deeds::new(deeds));
    let app = builder(&store, &deeds).with(swift()).with(Timeout(Duration::from_millis(50))).with(CatchPanic);
    let app = app.handle(order).build().await.unwrap();
    assert_eq!(app.send(Order(1)).await.unwrap(), 1);
    assert_eq!(deeds.attempts().len(), 4);
    assert_eq!(orders(&store), [1]);

    let (store, deeds) = (temporary().await, Deeds::new([Deed::Panic, Deed::Hang, FAIL]));
    let app = builder(&store, &deeds).handle(place);
    let app = app.with(swift()).with(Timeout(Duration::from_millis(50))).with(CatchPanic).on("mail", post);
    let app = app.build().await.unwrap();
    app.send(Place(1)).await.unwrap().unwrap();
    app.run_until_idle().await.unwrap();
    assert_eq!(deeds.attempts(), [1, 1, 1, 1]);
    assert_eq!(mails(&store), [1]);
}

/// Answers for a handler that failed.
#[derive(Clone)]
struct Fallback;

impl<M: Message<Reply: Default>> Behavior<M> for Fallback {
    async fn around<H: Handler<M>>(&self, call: &mut Call<'_>, message: M, next: &H) -> catga::Result<M::Reply> {
        next.handle(call, message).await.or_else(|_| Ok(M::Reply::default()))
    }
}

#[tokio::test]
async fn what_a_behavior_answers_for_a_failed_handler_commits_nothing_of_it() {
    for deed in [FAIL, Deed::Panic, Deed::Hang] {
        let (store, deeds) = (temporary().await, Deeds::new([deed]));
        let app = builder(&store, &deeds).handle(place).with(Fallback);
        let app = app.with(CatchPanic).with(Timeout(Duration::from_millis(50))).on("mail", post).build().await.unwrap();
        app.send(Place(1)).await.unwrap().unwrap();
        app.run_until_idle().await.unwrap();
        assert_eq!((deeds.attempts(), mails(&store)), (vec![1], vec![]), "{deed:?}");
        assert_eq!(count(&store, "SELECT count(*) FROM catga_inbox"), 1, "{deed:?}: handled");
    }
}

#[tokio::test]
async fn a_dropped_call_leaves_nothing_under_all_behaviors() {
    let (store, deeds) = (temporary().await, Deeds::new([Deed::Hang]));
    let app = builder(&store, &deeds).with(Trace::default()).with(CatchPanic).with(ConcurrencyLimit::new(1));
    let app = app.with(CircuitBreaker::new()).with(Retry::default()).with(Timeout(Duration::from_secs(60)));
    let app = app.handle(order).build().await.unwrap();
    tokio::time::timeout(Duration::from_millis(20), app.send(Order(1))).await.unwrap_err();
    assert_eq!(deeds.attempts().len(), 1, "it had begun");
    assert_eq!(app.send(Order(2)).await.unwrap(), 2, "place and writer came home");
    assert_eq!(orders(&store), [2]);
}

impl Validated for Placed {
    fn validate(&self) -> Result<(), BoxError> {
        Problems::new().unless(self.id != 2, "id", "must not be 2").end()
    }
}

#[tokio::test]
async fn refused_deliveries_are_buried_at_once_and_the_rest_flows() {
    let rule = Authorize::by(|cx: &Context, event: &Placed| event.id != 2 && cx.consumer == "shop.mail");
    let validated = async |store: &Sqlite, deeds: &Deeds| {
        builder(store, deeds).handle(place).with(Validate).on("mail", post).build().await.unwrap()
    };
    let authorized = async |store: &Sqlite, deeds: &Deeds| {
        builder(store, deeds).handle(place).with(rule).on("mail", post).build().await.unwrap()
    };
    for validates in [true, false] {
        let (store, deeds) = (temporary().await, Deeds::default());
        let app = if validates { validated(&store, &deeds).await } else { authorized(&store, &deeds).await };
        for id in 1..=3 {
            app.send(Place(id)).await.unwrap().unwrap();
        }
        app.run_until_idle().await.unwrap();
        assert_eq!(mails(&store), [1, 3]);
        let reason = if validates { "`orders.placed` is not valid: id must not be 2" } else { "without a principal" };
        assert!(letter(&store).starts_with("1 ") && letter(&store).contains(reason), "{}", letter(&store));
    }
}

#[tokio::test]
async fn a_delivery_that_finds_the_limit_reached_holds_no_writer_while_it_waits() {
    /// Has the only place while it writes by another call.
    async fn outer(Audit(id): Audit, app: State<App>) -> catga::Result<()> {
        tokio::time::sleep(Duration::from_millis(50)).await;
        app.send(Place(id)).await?.map(drop).map_err(Error::permanent)
    }
    let (store, deeds) = (temporary().await, Deeds::default());
    let other = App::builder("other").store(store.clone()).handle(place).build().await.unwrap();
    let one = ConcurrencyLimit::new(1).patience(Duration::from_secs(600));
    let app = builder(&store, &deeds).state(other).with(one).handle(outer).on("mail", post).build().await.unwrap();
    let feed = App::builder("feed").store(store.clone()).handle(place).build().await.unwrap();
    feed.send(Place(1)).await.unwrap().unwrap();
    let began = Instant::now();
    let (answer, ran) = tokio::join!(app.send(Audit(2)), app.run_until_idle());
    answer.unwrap();
    ran.unwrap();
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert_eq!(mails(&store), [1, 2]);
    assert!(deeds.attempts().iter().all(|attempt| *attempt == 1), "a refusal counts as no attempt");
}

#[tokio::test]
async fn while_a_breaker_is_open_deliveries_wait_and_none_is_buried() {
    // More failures than attempts would bear if they counted.
    let (store, deeds) = (temporary().await, Deeds::new([Deed::Fail(ErrorKind::Timeout); 2]));
    let breaker = CircuitBreaker::new().calls(2).open_for(Duration::from_millis(30));
    let app = builder(&store, &deeds).backoff(quick(3)).handle(place).with(breaker.clone()).on("mail", post);
    let app = app.build().await.unwrap();
    for id in 1..=5 {
        app.send(Place(id)).await.unwrap().unwrap();
    }
    app.run_until_idle().await.unwrap();
    assert_eq!(mails(&store), [1, 2, 3, 4, 5]);
    assert_eq!(count(&store, "SELECT count(*) FROM catga_letter"), 0);
    assert_eq!(deeds.attempts().len(), 7, "while it was open nobody was called");
    assert_eq!(breaker.state(), Circuit::Closed);
}

/// Takes a copy of an order or an audit and writes it.
async fn copy(Audit(id): Audit, mut tx: Tx<Sqlite>) -> catga::Result<()> {
    tx.execute("INSERT INTO mails (order_id, consumer) VALUES (?1, 'copy')", [id])?;
    Ok(())
}

async fn audit(Audit(id): Audit, mut tx: Tx<Sqlite>, deeds: State<Deeds>) -> catga::Result<()> {
    tx.execute("INSERT INTO orders (id) VALUES (?1)", [id])?;
    deeds.next(1).await
}

#[tokio::test]
async fn an_outbox_keeps_a_request_for_its_consumers_whatever_its_handler_does() {
    let (store, deeds) = (temporary().await, Deeds::new([FAIL, Deed::Panic]));
    let kept = audit.with(CatchPanic).with(Outbox::new(store.clone()));
    let app = builder(&store, &deeds).handle(kept).on("copy", copy).build().await.unwrap();
    for (id, fine) in [(1, false), (2, false), (3, true)] {
        assert_eq!(app.send(Audit(id)).await.is_ok(), fine);
        assert_eq!(count(&store, "SELECT count(*) FROM catga_outbox"), id as i64, "kept before the handler ran");
    }
    app.run_until_idle().await.unwrap();
    assert_eq!(orders(&store), [3]);
    assert_eq!(mails(&store), [1, 2, 3], "not atomic, as its first words say");
}

#[tokio::test]
async fn an_outbox_outside_a_retry_keeps_once_and_inside_its_consumers_handle_once() {
    let (store, deeds) = (temporary().await, Deeds::new([FAIL, FAIL]));
    let kept = audit.with(Outbox::new(store.clone())).with(swift());
    let app = builder(&store, &deeds).handle(kept).on("copy", copy).build().await.unwrap();
    app.send(Audit(1)).await.unwrap();
    assert_eq!(count(&store, "SELECT count(*) FROM catga_outbox"), 1);
    app.run_until_idle().await.unwrap();
    assert_eq!((orders(&store), mails(&store)), (vec![1], vec![1]));

    let (store, deeds) = (temporary().await, Deeds::new([FAIL, FAIL]));
    let kept = audit.with(swift()).with(Outbox::new(store.clone()));
    let app = builder(&store, &deeds).handle(kept).on("copy", copy).build().await.unwrap();
    app.send(Audit(1)).await.unwrap();
    assert_eq!(count(&store, "SELECT count(*) FROM catga_outbox"), 3);
    app.run_until_idle().await.unwrap();
    assert_eq!((orders(&store), mails(&store)), (vec![1], vec![1]), "by its id");
}

async fn seen(_: Placed, copies: State<Deeds>) -> catga::Result<()> {
    copies.next(1).await
}

#[tokio::test]
async fn a_delivery_goes_on_to_another_subject_with_its_commit_and_never_to_its_own() {
    // On its own subject it would come back for ever, where no mark stops it.
    let (store, deeds) = (temporary().await, Deeds::default());
    let app = builder(&store, &deeds).handle(place).with(Outbox::new(store.clone())).on("mail", seen);
    let app = app.build().await.unwrap();
    app.send(Place(1)).await.unwrap().unwrap();
    tokio::time::timeout(Duration::from_secs(5), app.run_until_idle()).await.unwrap().unwrap();
    assert_eq!(deeds.attempts(), [1]);

    // The copy joins the delivery's transaction: it does not wait for itself, and leaves when the delivery commits.
    let (store, deeds) = (temporary().await, Deeds::new([FAIL]));
    let on = Outbox::new(store.clone()).to("archive.orders.placed");
    let app = builder(&store, &deeds).handle(place).with(on).on("mail", post).build().await.unwrap();
    // Without a `Tx` there is no mark, so that a second copy would be seen.
    let copies = Deeds::default();
    let archive = App::builder("archive").prefix("archive").store(store.clone()).state(copies.clone());
    let archive = archive.on("copy", seen);
    let archive = archive.build().await.unwrap();
    app.send(Place(1)).await.unwrap().unwrap();
    app.run_until_idle().await.unwrap();
    assert_eq!((deeds.attempts(), copies.attempts()), (vec![1, 2], vec![]));
    archive.run_until_idle().await.unwrap();
    assert_eq!(copies.attempts(), [1], "the failed try's copy did not leave");
}
