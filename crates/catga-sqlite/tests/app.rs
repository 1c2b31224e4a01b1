//! What an application offers beside `send` and `run`.
#![allow(clippy::unwrap_used)]

mod common;

use catga::{
    App, Behavior, Behaviors, Builder, Call, Context, Error, ErrorKind, Event, Handler, HandlerExt, Key, Message,
    PublishOptions, Request, SendOptions, State, Tx, sqlite::Sqlite,
};
use common::*;
use serde::{Deserialize, Serialize};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

#[derive(Request, Clone, Serialize, Deserialize)]
#[catga(name = "double", reply = u32)]
struct Double(u32);

/// Doubles; refuses 13, and counts how many run at a time.
async fn double(Double(number): Double, load: State<Load>) -> catga::Result<u32> {
    let now = load.now.fetch_add(1, Ordering::SeqCst) + 1;
    load.most.fetch_max(now, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(u64::from(number % 3))).await;
    load.now.fetch_sub(1, Ordering::SeqCst);
    if number == 13 { Err(Error::permanent("thirteen")) } else { Ok(number * 2) }
}

#[derive(Default)]
struct Load {
    now: AtomicUsize,
    most: AtomicUsize,
}

#[tokio::test]
async fn a_batch_and_a_stream_answer_in_order_with_bounded_concurrency() {
    let expected: Vec<_> = (0..40).map(|number| (number != 13).then_some(number * 2)).collect();
    let app = App::builder("numbers").state(Load::default()).handle(double).build().await.unwrap();
    let answers = app.send_batch((0..40).map(Double), 4).await;
    assert_eq!(answers.into_iter().map(Result::ok).collect::<Vec<_>>(), expected);

    use futures_util::{StreamExt, stream};
    let answers: Vec<_> = app.send_stream(stream::iter((0..40).map(Double)), 4).collect().await;
    assert_eq!(answers.into_iter().map(Result::ok).collect::<Vec<_>>(), expected);
    // One that looks at the load from within.
    #[derive(Request)]
    #[catga(name = "most", reply = usize, local)]
    struct Most;
    async fn most(_: Most, load: State<Load>) -> catga::Result<usize> {
        Ok(load.most.load(Ordering::SeqCst))
    }
    let app = App::builder("numbers").state(Load::default()).handle(double).handle(most).build().await.unwrap();
    app.send_batch((0..40).map(Double), 4).await;
    assert_eq!(app.send(Most).await.unwrap(), 4);
}

#[derive(Event, Clone)]
#[catga(name = "rang", local)]
struct Rang;

#[tokio::test]
async fn everybody_in_process_hears_an_event_and_every_error_is_answered() {
    async fn first(_: Rang, heard: State<Mutex<Vec<u8>>>) -> catga::Result<()> {
        heard.lock().unwrap().push(1);
        Err(Error::permanent("first"))
    }
    async fn second(_: Rang, heard: State<Mutex<Vec<u8>>>) -> catga::Result<()> {
        heard.lock().unwrap().push(2);
        Ok(())
    }
    async fn third(_: Rang, mut tx: Tx<Sqlite>) -> catga::Result<()> {
        tx.execute("INSERT INTO orders (id) VALUES (3)", ())?;
        Err(Error::permanent("third"))
    }
    async fn fourth(_: Rang, mut tx: Tx<Sqlite>) -> catga::Result<()> {
        tx.execute("INSERT INTO orders (id) VALUES (4)", ())?;
        Ok(())
    }
    let store = temporary().await;
    let app = App::builder("bell").store(store.clone()).state(Mutex::new(Vec::<u8>::new()));
    let app = app.hear(first).hear(second).hear(third).hear(fourth).build().await.unwrap();
    let failures = app.notify(Rang).await.unwrap_err();
    let texts: Vec<String> = failures.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), 2);
    assert!(texts[0].ends_with("first") && texts[1].ends_with("third"), "{texts:?}");
    assert_eq!(numbers(&store, "SELECT id FROM orders"), [4], "each in a unit of work of its own");
}

#[tokio::test]
async fn the_callers_options_reach_the_handler() {
    #[derive(Request)]
    #[catga(name = "who", reply = String, local)]
    struct Who;
    async fn who(_: Who, cx: Context) -> catga::Result<String> {
        let tenant = cx.headers.get("tenant").map(|value| String::from_utf8_lossy(value).into_owned());
        Ok(format!("{:?} {:?} {:?} {}", cx.principal, cx.idempotency_key, tenant, cx.correlation))
    }
    let app = App::builder("shop").handle(who).build().await.unwrap();
    let correlation = catga::MessageId::new();
    let mut options = SendOptions {
        principal: Some("anna".into()),
        idempotency_key: Some("k".into()),
        correlation: Some(correlation),
        ..Default::default()
    };
    options.headers.push("tenant", b"acme").unwrap();
    let said = app.send_with(Who, options).await.unwrap();
    assert_eq!(said, format!("Some(\"anna\") Some(\"k\") Some(\"acme\") {correlation}"));

    let late = SendOptions { deadline: Some(SystemTime::now() + Duration::from_millis(1)), ..Default::default() };
    let app = App::builder("numbers").state(Load::default()).handle(double).build().await.unwrap();
    let late_error = app.send_with(Double(2), SendOptions { deadline: Some(SystemTime::UNIX_EPOCH), ..late }).await;
    assert_eq!(late_error.unwrap_err().kind(), ErrorKind::Timeout);
}

#[tokio::test]
async fn a_command_is_enqueued_for_its_consumer_and_a_consumer_takes_several_messages() {
    async fn count_double(Double(number): Double, mut tx: Tx<Sqlite>) -> catga::Result<u32> {
        tx.execute("INSERT INTO orders (id) VALUES (?1)", [number * 2])?;
        Ok(number * 2)
    }
    async fn placed(event: Placed, mut tx: Tx<Sqlite>, cx: Context) -> catga::Result<()> {
        assert_eq!(cx.headers.get("from"), Some(&b"test"[..]));
        tx.execute("INSERT INTO orders (id) VALUES (?1)", [event.id])?;
        Ok(())
    }
    let store = temporary().await;
    let app = App::builder("shop").store(store.clone());
    let app = app.consumer("desk", |desk| desk.on(count_double).on(placed)).build().await.unwrap();
    app.enqueue(Double(21)).await.unwrap();
    let mut options = PublishOptions { key: Some(Key::new("k")), ..Default::default() };
    options.headers.push("from", b"test").unwrap();
    app.publish_with(Placed { id: 7 }, options).await.unwrap();
    app.run_until_idle().await.unwrap();
    assert_eq!(numbers(&store, "SELECT id FROM orders"), [42, 7], "one name, one order");
    // From within a transaction, too, under another key and subject.
    async fn hand_on(_: Pass, mut tx: Tx<Sqlite>) -> catga::Result<()> {
        tx.enqueue(Double(50))?;
        let mut options = PublishOptions { subject: Some("catga.orders.placed".into()), ..Default::default() };
        options.headers.push("from", b"test")?;
        tx.publish_with(Placed { id: 8 }, options)?;
        Ok(())
    }
    #[derive(Request)]
    #[catga(name = "pass", local)]
    struct Pass;
    drop(app);
    let app = App::builder("shop").store(store.clone()).handle(hand_on);
    let app = app.consumer("desk", |desk| desk.on(count_double).on(placed)).build().await.unwrap();
    app.send(Pass).await.unwrap();
    app.run_until_idle().await.unwrap();
    assert_eq!(numbers(&store, "SELECT id FROM orders"), [42, 7, 100, 8]);

    let far = PublishOptions { subject: Some("s".repeat(256).into()), ..Default::default() };
    let error = app.publish_with(Placed { id: 9 }, far).await.unwrap_err();
    assert!(error.to_string().contains("has 256 bytes; 1 to 255"), "{error}");
    let nobody = App::builder("empty").build().await.unwrap().publish(Placed { id: 1 }).await.unwrap_err();
    assert_eq!(nobody.kind(), ErrorKind::Unsupported);
    assert!(nobody.to_string().contains("publishing `orders.placed`"), "{nobody}");
}

/// Writes its name before and after.
#[derive(Clone)]
struct Note(&'static str, Arc<Mutex<Vec<String>>>);

impl<M: Message> Behavior<M> for Note {
    async fn around<H: Handler<M>>(&self, call: &mut Call<'_>, message: M, next: &H) -> catga::Result<M::Reply> {
        self.1.lock().unwrap().push(format!("{} {}", self.0, M::NAME));
        next.handle(call, message).await
    }
}

#[tokio::test]
async fn behaviors_wrap_what_is_added_after_them_the_first_outermost() {
    async fn ping(_: Ping) -> catga::Result<()> {
        Ok(())
    }
    #[derive(Request)]
    #[catga(name = "ping", local)]
    struct Ping;
    async fn pong(_: Pong) -> catga::Result<()> {
        Ok(())
    }
    #[derive(Request)]
    #[catga(name = "pong", local)]
    struct Pong;
    struct Own(Note);
    impl Handler<Own2> for Own {
        async fn handle(&self, _: &mut Call<'_>, _: Own2) -> catga::Result<()> {
            self.0.1.lock().unwrap().push("own".into());
            Ok(())
        }
    }
    #[derive(Request)]
    #[catga(name = "own", local)]
    struct Own2;
    fn pongs<L: Behaviors<Pong>>(note: Note) -> impl FnOnce(Builder<L>) -> Builder<(L, Note)>
    where
        (L, Note): Behaviors<Pong>,
    {
        move |builder| builder.with(note).handle(pong)
    }
    let notes = Arc::new(Mutex::new(Vec::new()));
    let note = |name| Note(name, notes.clone());
    let app = App::builder("table")
        .with(note("a"))
        .handle(ping.with(note("x")).with(note("y")))
        .module(pongs(note("module")))
        .with(note("b"))
        .handle(Own(note("")))
        .build()
        .await
        .unwrap();
    let told = || std::mem::take(&mut *notes.lock().unwrap());
    app.send(Ping).await.unwrap();
    assert_eq!(told(), ["a ping", "x ping", "y ping"]);
    app.send(Pong).await.unwrap();
    assert_eq!(told(), ["a pong", "module pong"]);
    app.send(Own2).await.unwrap();
    assert_eq!(told(), ["a own", "b own", "own"]);

    let text = app.describe().to_string();
    assert!(text.contains("handles     ping > Note > Note > Note > app::"), "{text}");
    let error = App::builder("table").handle(ping).with(note("idle")).build().await.unwrap_err();
    assert!(error.to_string().contains("Note` has no handler behind it"), "{error}");
}

#[tokio::test]
async fn a_description_is_kept_beside_the_queue() {
    let store = temporary().await;
    let app = shop(&store, Script::fine()).build().await.unwrap();
    let tool = Sqlite::open_tool(store.path()).await.unwrap();
    let kept = tool.descriptions().unwrap();
    assert_eq!(kept, [("shop".to_owned(), app.describe().to_json().to_string())]);
    let text = app.describe().to_string();
    for part in [
        "application shop",
        "transport   kept on disk, delivered at least once",
        "handles     orders.place > ",
        "consumer    shop.mail: effects once",
        "takes     orders.placed version 1 in json from catga.orders.placed > ",
    ] {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
}
