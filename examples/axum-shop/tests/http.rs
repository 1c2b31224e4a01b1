//! Drives the shop over real HTTP, on a free port of the loopback interface.
#![allow(clippy::unwrap_used)]

use axum::{Router, routing};
use catga::{
    App, Call, Envelope, Handler, MessageId, Parcel, Request, Str, Transport,
    axum::{Readiness, command},
    behavior::Idempotent,
    sqlite::Sqlite,
};
use catga_axum_shop::Shop;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{future::Future, net::SocketAddr, process::Stdio, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, oneshot},
    task::JoinHandle,
    time::{sleep, timeout},
};

/// A shop that serves, and the way to end it.
struct Running {
    address: SocketAddr,
    store: Sqlite,
    ready: Readiness,
    stop: oneshot::Sender<()>,
    served: JoinHandle<catga::Result<()>>,
}

impl Running {
    async fn start() -> Self {
        Self::start_on(Sqlite::temporary().await.unwrap()).await
    }

    async fn start_on(store: Sqlite) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let (shop, ready) = (Shop::build(store.clone()).await.unwrap(), Readiness::default());
        let gate = ready.clone();
        let served = tokio::spawn(async move { shop.serve(listener, &gate, async { drop(stopped.await) }).await });
        Self { address, store, ready, stop, served }
    }

    async fn post(&self, headers: &str, body: &str) -> Answer {
        post(self.address, headers, body).await
    }

    async fn get(&self, path: &str) -> Answer {
        call(self.address, "GET", path, "", "").await
    }

    fn count(&self, table: &str) -> u32 {
        self.store.read(|db| db.query_row(&format!("SELECT count(*) FROM {table}"), (), |row| row.get(0))).unwrap()
    }

    async fn end(self) {
        self.stop.send(()).unwrap();
        soon(self.served).await.unwrap().unwrap();
    }
}

async fn post(address: SocketAddr, headers: &str, body: &str) -> Answer {
    call(address, "POST", "/orders", &format!("content-type: application/json\r\n{headers}"), body).await
}

async fn call(address: SocketAddr, method: &str, path: &str, headers: &str, body: &str) -> Answer {
    let mut connection = TcpStream::connect(address).await.unwrap();
    connection.write_all(head(method, path, headers, body).as_bytes()).await.unwrap();
    connection.write_all(body.as_bytes()).await.unwrap();
    Answer::read(connection).await
}

fn head(method: &str, path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("{method} {path} HTTP/1.1\r\nhost: shop\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n")
}

#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    async fn read(mut connection: TcpStream) -> Self {
        let mut text = String::new();
        soon(connection.read_to_string(&mut text)).await.unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, head: head.to_lowercase(), body: body.into() }
    }

    fn json(&self) -> Value {
        assert!(self.head.contains("content-type: application/json"), "{self:?}");
        serde_json::from_str(&self.body).unwrap()
    }

    /// Checks that it is a whole problem, and takes it.
    fn problem(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        assert!(self.head.contains("content-type: application/problem+json"), "{self:?}");
        let problem: Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!(problem["status"], status);
        assert!(problem["type"].is_string() && problem["title"].is_string(), "{problem}");
        problem
    }
}

/// Waits for what takes milliseconds, and fails where it hangs.
async fn soon<F: Future>(work: F) -> F::Output {
    timeout(Duration::from_secs(30), work).await.expect("it hangs")
}

#[tokio::test]
async fn an_order_is_placed_and_its_event_consumed() {
    let shop = Running::start().await;
    let placed = shop.post("", r#"{"sku": "A-1", "qty": 2}"#).await;
    assert_eq!((placed.status, placed.json()), (200, json!(1)));
    let mailed = async {
        loop {
            let order = shop.get("/orders/1").await.json();
            if order == json!({"id": 1, "sku": "A-1", "qty": 2, "mails": 1}) {
                break;
            }
            assert_eq!(order["mails"], 0);
            sleep(Duration::from_millis(5)).await;
        }
    };
    soon(mailed).await;
    let text = shop.store.read(|db| db.query_row("SELECT text FROM mails", (), |row| row.get::<_, String>(0))).unwrap();
    assert_eq!(text, "Your A-1 is on its way.");
    shop.end().await;
}

#[tokio::test]
async fn a_refused_order_is_a_problem_with_the_refusal() {
    let shop = Running::start().await;
    let empty = shop.post("", r#"{"sku": "A-1", "qty": 0}"#).await.problem(422);
    assert_eq!((&empty["kind"], &empty["refusal"]), (&json!("Refused"), &json!({"reason": "empty"})));
    let many = shop.post("", r#"{"sku": "A-1", "qty": 101}"#).await.problem(422);
    assert_eq!(many["refusal"], json!({"reason": "too_many", "limit": 100}));
    assert_eq!(shop.count("orders"), 0);
    shop.end().await;
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_a_problem_with_its_place() {
    let shop = Running::start().await;
    let cut = shop.post("", "{\"sku\":\n \"A-1\",").await.problem(400);
    assert!(cut["detail"].as_str().unwrap().contains("line 2 column 7"), "{cut}");
    let wrong = shop.post("", r#"{"sku": "A-1", "qty": "two"}"#).await.problem(422);
    assert!(wrong["detail"].as_str().unwrap().contains(r#"qty: invalid type: string "two", expected u32"#), "{wrong}");
    let missing = shop.post("", r#"{"sku": "A-1"}"#).await.problem(422);
    assert!(missing["detail"].as_str().unwrap().contains("missing field `qty`"), "{missing}");
    shop.post("", r#"{"sku": "A-1", "qty": 2} x"#).await.problem(400);
    shop.post("", "").await.problem(400);

    let order = r#"{"sku": "A-1", "qty": 2}"#;
    call(shop.address, "POST", "/orders", "content-type: text/plain\r\n", order).await.problem(415);
    call(shop.address, "POST", "/orders", "", order).await.problem(415);
    // One byte beyond axum's limit of 2 MiB.
    shop.post("", &format!("\"{}\"", "x".repeat(2 * 1024 * 1024 - 1))).await.problem(413);
    assert_eq!(shop.count("orders"), 0);
    let placed =
        call(shop.address, "POST", "/orders", "content-type: Application/vnd.shop+json; charset=utf-8\r\n", order)
            .await;
    assert_eq!(placed.status, 200, "{placed:?}");
    shop.end().await;
}

#[tokio::test]
async fn what_is_not_there_is_a_problem() {
    let shop = Running::start().await;
    shop.get("/nowhere").await.problem(404);
    let order = shop.get("/orders/7").await.problem(404);
    assert_eq!(order["detail"], "there is no order 7");
    shop.get("/orders/seven").await.problem(400);
    shop.get("/orders").await.problem(405);
    shop.end().await;
}

#[tokio::test]
async fn one_key_is_one_order() {
    let shop = Running::start().await;
    let order = r#"{"sku": "A-1", "qty": 2}"#;
    let first = shop.post("Idempotency-Key: a1\r\n", order).await;
    let again = shop.post("Idempotency-Key: \"a1\"\r\n", order).await; // the draft's form, in quotes
    assert_eq!((first.status, again.status, first.json(), again.json()), (200, 200, json!(1), json!(1)));
    let other = shop.post("Idempotency-Key: a2\r\n", order).await;
    assert_eq!((other.json(), shop.count("orders")), (json!(2), 2));

    let misused = shop.post("Idempotency-Key: a1\r\n", r#"{"sku": "B-2", "qty": 2}"#).await.problem(422);
    assert_eq!(misused["kind"], "Invalid");
    let refused = shop.post("Idempotency-Key: a3\r\n", r#"{"sku": "A-1", "qty": 0}"#).await.problem(422);
    let refused_again = shop.post("Idempotency-Key: a3\r\n", r#"{"sku": "A-1", "qty": 0}"#).await.problem(422);
    assert_eq!(refused, refused_again);
    for key in ["Idempotency-Key:\r\n".into(), format!("Idempotency-Key: {}\r\n", "k".repeat(256))] {
        shop.post(&key, order).await.problem(400);
    }
    shop.post("Idempotency-Key: b1\r\nIdempotency-Key: b2\r\n", order).await.problem(400);
    assert_eq!(shop.count("orders"), 2);
    shop.end().await;
}

#[tokio::test]
async fn it_drains_at_the_end() {
    let shop = Running::start().await;
    assert_eq!((shop.get("/health").await.status, shop.get("/ready").await.status), (200, 200));

    // A request whose body is half there is in flight for as long as we like.
    let order = r#"{"sku": "A-1", "qty": 2}"#;
    let (begin, rest) = order.split_at(10);
    let head = head("POST", "/orders", "content-type: application/json\r\nexpect: 100-continue\r\n", order);
    let mut in_flight = TcpStream::connect(shop.address).await.unwrap();
    in_flight.write_all(head.as_bytes()).await.unwrap();
    let mut asked = [0; 25];
    soon(in_flight.read_exact(&mut asked)).await.unwrap(); // the handler is reading: it asks for the body
    assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
    in_flight.write_all(begin.as_bytes()).await.unwrap();

    shop.ready.close();
    assert_eq!(shop.get("/ready").await.problem(503)["detail"], "shutting down");
    assert_eq!(shop.get("/health").await.status, 200);

    shop.stop.send(()).unwrap();
    soon(async {
        while TcpStream::connect(shop.address).await.is_ok() {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert!(!shop.served.is_finished());
    in_flight.write_all(rest.as_bytes()).await.unwrap();
    let answer = Answer::read(in_flight).await;
    assert_eq!((answer.status, answer.json()), (200, json!(1)));
    soon(shop.served).await.unwrap().unwrap();

    // What the consumers had not begun by then comes with the next start.
    let again = Running::start_on(shop.store.clone()).await;
    soon(async {
        while again.count("mails") < 1 {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    again.end().await;
}

#[tokio::test]
async fn it_is_not_ready_while_a_consumer_waits_for_a_newer_program() {
    let shop = Running::start().await;
    assert_eq!(shop.get("/ready").await.status, 200);
    let (id, name) = (MessageId::new(), Str::from_static("orders.placed"));
    let mut newer = Envelope::new(id, name, Str::from_static("json"), "{}".into());
    newer.version = 2;
    let parcel = Parcel::new("catga.orders.placed".into(), id, newer.encode().unwrap().into());
    shop.store.publish(&[parcel], &mut Vec::new()).await.unwrap();
    let unready = soon(async {
        loop {
            let answer = shop.get("/ready").await;
            if answer.status != 200 {
                break answer.problem(503);
            }
            sleep(Duration::from_millis(5)).await;
        }
    });
    assert_eq!(unready.await["detail"], "consumer `shop.mail` waits for a newer program");
    shop.end().await;
}

/// Tells of the trace that the request belongs to.
#[derive(Request, Deserialize)]
#[catga(name = "traced", reply = Option<String>, local)]
struct Traced;

struct Tell;

impl Handler<Traced> for Tell {
    async fn handle(&self, call: &mut Call<'_>, _: Traced) -> catga::Result<Option<String>> {
        Ok(call.trace().map(|trace| String::from_utf8_lossy(&trace).into_owned()))
    }
}

#[tokio::test]
async fn a_trace_goes_on() {
    let app = App::builder("traces").handle(Tell).build().await.unwrap();
    let router = Router::new().route("/orders", routing::post(command::<Traced>)).with_state(app);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    assert_eq!(post(address, &format!("traceparent: {trace}\r\n"), "null").await.json(), json!(trace));
    for none in [String::new(), format!("traceparent: {trace}0\r\n"), format!("traceparent: ff{}\r\n", &trace[2..])] {
        let answer = post(address, &none, "null").await;
        assert_eq!((answer.status, answer.body.as_str()), (204, ""));
    }
    server.abort();
}

/// Answers when it is let go.
#[derive(Request, Serialize, Deserialize)]
#[catga(name = "wait", reply = String)]
struct Wait(u32);

struct Gate {
    entered: Semaphore,
    open: Semaphore,
}

async fn wait(Wait(number): Wait, gate: catga::State<Arc<Gate>>) -> catga::Result<String> {
    gate.entered.add_permits(1);
    gate.open.acquire().await?.forget();
    match number {
        0 => Err(catga::Error::retry_after("the password of db1 is wrong", Duration::from_millis(1500))),
        _ => Ok(format!("waited for {number}")),
    }
}

#[tokio::test]
async fn a_second_caller_with_a_key_is_told_to_come_back() {
    let store = Sqlite::temporary().await.unwrap();
    let gate = Arc::new(Gate { entered: Semaphore::new(0), open: Semaphore::new(0) });
    let app = App::builder("gate").store(store.clone()).state(gate.clone()).with(Idempotent::new(store)).handle(wait);
    let app = app.build().await.unwrap();
    let unready = Readiness::default().route(async || Err(catga::Error::permanent("the password of db1 is wrong")));
    let router =
        Router::new().route("/orders", routing::post(command::<Wait>)).route("/ready", unready).with_state(app);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move { axum::serve(listener, router).await });

    let first = tokio::spawn(async move { post(address, "idempotency-key: a1\r\n", "7").await });
    soon(gate.entered.acquire()).await.unwrap().forget();
    let busy = post(address, "idempotency-key: a1\r\n", "7").await;
    assert_eq!(busy.problem(409)["kind"], "Busy");
    assert!(busy.head.contains("\r\nretry-after: "), "{busy:?}");
    gate.open.add_permits(1);
    let answers = [first.await.unwrap(), post(address, "idempotency-key: a1\r\n", "7").await];
    for answer in answers {
        assert_eq!((answer.status, answer.json()), (200, json!("waited for 7")));
    }

    // What fails in here is not told out there.
    gate.open.add_permits(1);
    let later = post(address, "", "0").await;
    let problem = later.problem(503);
    assert_eq!((&problem["kind"], &problem["retry_after_ms"]), (&json!("Handler"), &json!(1500)));
    assert!(problem["instance"].as_str().unwrap().starts_with("urn:uuid:"), "{problem}");
    assert!(later.head.contains("\r\nretry-after: 2"), "{later:?}");
    let unready = call(address, "GET", "/ready", "", "").await;
    unready.problem(503);
    assert!(!later.body.contains("password") && !unready.body.contains("password"));
    server.abort();
}

#[cfg(unix)]
#[tokio::test]
async fn a_process_ends_well_at_sigterm() {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_catga-axum-shop"));
    command.arg("127.0.0.1:0").env_remove("CATGA_STORE").stdout(Stdio::piped()).kill_on_drop(true);
    let mut shop = command.spawn().unwrap();
    let mut line = String::new();
    soon(BufReader::new(shop.stdout.take().unwrap()).read_line(&mut line)).await.unwrap();
    let address = line.trim().strip_prefix("listening on http://").unwrap().parse().unwrap();
    assert_eq!(post(address, "", r#"{"sku": "A-1", "qty": 2}"#).await.status, 200);
    let kill = format!("kill -TERM {}", shop.id().unwrap());
    assert!(tokio::process::Command::new("sh").args(["-c", &kill]).status().await.unwrap().success());
    assert!(soon(shop.wait()).await.unwrap().success());
}
