//! Requests that other applications answer, through memory.
#![allow(clippy::unwrap_used)]
#![cfg(feature = "json")]

use catga::{App, Builder, Context, Error, ErrorKind, Request, SendOptions, State, memory::Memory};
use serde::{Deserialize, Serialize};
use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, SystemTime},
};
use tokio::{sync::Semaphore, time::Instant};

/// Refuses 0, fails with 1, panics with 2, never answers 3, and waits for its permit with 4.
#[derive(Request, Serialize, Deserialize)]
#[catga(name = "price", reply = Result<u32, String>, alias = "cost")]
struct Price(u32);

async fn price(
    Price(number): Price,
    name: State<&'static str>,
    gate: State<Semaphore>,
) -> catga::Result<Result<u32, String>> {
    match number {
        0 => Ok(Err(format!("{} has no price 0", name.0))),
        1 => Err(Error::new(ErrorKind::Conflict, "somebody else was first")),
        2 => panic!("oh"),
        3 => std::future::pending().await,
        4 => {
            gate.acquire().await.unwrap().forget();
            Ok(Ok(4))
        }
        other => Ok(Ok(other * 10)),
    }
}

fn seller(name: &'static str, memory: &Memory) -> Builder {
    App::builder(name).state(name).state(Semaphore::new(0)).requests(memory.clone()).serve(price)
}

async fn buyer(memory: &Memory) -> App {
    App::builder("buyer").requests(memory.clone()).build().await.unwrap()
}

/// Runs the applications until `work` has ended.
async fn while_running<T>(apps: &[&App], work: impl Future<Output = T>) -> T {
    let (stop, _) = tokio::sync::broadcast::channel::<()>(1);
    let runs = apps.iter().map(|app| {
        let mut stopped = stop.subscribe();
        app.run(async move { drop(stopped.recv().await) })
    });
    let work = async {
        // Who serves has begun to before anybody asks.
        tokio::task::yield_now().await;
        let done = work.await;
        stop.send(()).unwrap();
        done
    };
    let (runs, done) = tokio::join!(futures_util::future::join_all(runs), work);
    runs.into_iter().for_each(|run| run.unwrap());
    done
}

fn within(time: Duration) -> SendOptions {
    SendOptions { deadline: Some(SystemTime::now() + time), ..Default::default() }
}

#[tokio::test(start_paused = true)]
async fn a_request_is_answered_by_another_application() {
    let memory = Memory::new();
    let (seller, buyer) = (seller("seller", &memory).build().await.unwrap(), buyer(&memory).await);
    while_running(&[&seller], async {
        assert_eq!(buyer.ask(Price(7)).await.unwrap(), Ok(70));
        assert_eq!(buyer.ask(Price(0)).await.unwrap(), Err("seller has no price 0".into()), "a refusal is an answer");
        assert_eq!(seller.send(Price(5)).await.unwrap(), Ok(50), "it is a handler of its own process, too");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn errors_travel_with_their_kind_and_text() {
    let memory = Memory::new();
    let (seller, buyer) = (seller("seller", &memory).build().await.unwrap(), buyer(&memory).await);
    while_running(&[&seller], async {
        let error = buyer.ask(Price(1)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        let text = format!("{error:#}");
        assert!(text.starts_with("asking `price`: ") && text.ends_with("somebody else was first"), "{text}");
        let error = buyer.ask(Price(2)).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Handler && format!("{error:#}").contains("oh"), "{error:#}");
        assert_eq!(buyer.ask(Price(6)).await.unwrap(), Ok(60), "a panic ends one call");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn nobody_and_too_late_are_told_apart() {
    let memory = Memory::new();
    let (seller, buyer) = (seller("seller", &memory).build().await.unwrap(), buyer(&memory).await);
    assert_eq!(buyer.ask(Price(7)).await.unwrap_err().kind(), ErrorKind::NoHandler, "it does not run yet");
    while_running(&[&seller], async {
        let began = Instant::now();
        let error = buyer.ask_with(Price(3), within(Duration::from_secs(2))).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error:#}");
        assert!((1..=2).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    })
    .await;
    assert_eq!(buyer.ask(Price(7)).await.unwrap_err().kind(), ErrorKind::NoHandler, "it does not run any more");
    let alone = App::builder("alone").build().await.unwrap();
    assert_eq!(alone.ask(Price(7)).await.unwrap_err().kind(), ErrorKind::Unsupported);
}

#[tokio::test(start_paused = true)]
async fn all_who_serve_are_asked_and_each_application_answers_once() {
    let memory = Memory::new();
    let (north, south) =
        (seller("north", &memory).build().await.unwrap(), seller("south", &memory).build().await.unwrap());
    let second = seller("south", &memory).build().await.unwrap();
    let buyer = buyer(&memory).await;
    while_running(&[&north, &south, &second], async {
        let mut answers: Vec<_> = buyer
            .ask_all(Price(0), within(Duration::from_secs(1)))
            .await
            .unwrap()
            .into_iter()
            .map(|answer| answer.unwrap().unwrap_err())
            .collect();
        answers.sort();
        assert_eq!(answers, ["north has no price 0", "south has no price 0"]);
        let late = buyer.ask_all(Price(3), within(Duration::from_secs(1))).await.unwrap();
        assert!(late.is_empty(), "who is late is left out");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn members_of_one_application_share_the_requests() {
    async fn count(Price(_): Price, served: State<AtomicU32>) -> catga::Result<Result<u32, String>> {
        Ok(Ok(served.fetch_add(1, Ordering::Relaxed)))
    }
    let memory = Memory::new();
    let member = || App::builder("shop").state(AtomicU32::new(0)).requests(memory.clone()).serve(count).build();
    let (one, two, buyer) = (member().await.unwrap(), member().await.unwrap(), buyer(&memory).await);
    let mut counts = while_running(&[&one, &two], async {
        let mut counts = Vec::new();
        for _ in 0..6 {
            counts.push(buyer.ask(Price(9)).await.unwrap().unwrap());
        }
        counts
    })
    .await;
    counts.sort_unstable();
    assert_eq!(counts, [0, 0, 1, 1, 2, 2], "in turn");
}

#[tokio::test(start_paused = true)]
async fn what_is_at_hand_is_answered_before_the_end() {
    let memory = Memory::new();
    let seller = seller("seller", &memory).hear(open).build().await.unwrap();
    let buyer = buyer(&memory).await;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let asking = async {
        tokio::task::yield_now().await;
        let mut asked = Box::pin(buyer.ask(Price(4)));
        assert!(futures_util::poll!(&mut asked).is_pending());
        tokio::time::sleep(Duration::from_millis(1)).await;
        stop.send(()).unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(buyer.ask(Price(7)).await.unwrap_err().kind(), ErrorKind::NoHandler, "it takes no more");
        seller.notify(Open).await.unwrap();
        asked.await
    };
    let (run, answer) = tokio::join!(seller.run(async move { drop(stopped.await) }), asking);
    run.unwrap();
    assert_eq!(answer.unwrap(), Ok(4));
}

#[derive(catga::Event, Clone)]
#[catga(name = "open", local)]
struct Open;

async fn open(_: Open, gate: State<Semaphore>) -> catga::Result<()> {
    gate.add_permits(1);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn the_conversation_and_the_headers_travel() {
    #[derive(Request, Serialize, Deserialize)]
    #[catga(name = "who", reply = (String, String, bool))]
    struct Who;
    async fn who(_: Who, cx: Context) -> catga::Result<(String, String, bool)> {
        let tenant = cx.headers.get("tenant").map(|tenant| String::from_utf8_lossy(tenant).into_owned());
        Ok((cx.correlation.to_string(), tenant.unwrap_or_default(), cx.deadline.is_some()))
    }
    let memory = Memory::new();
    let seller = App::builder("seller").requests(memory.clone()).serve(who).build().await.unwrap();
    let buyer = buyer(&memory).await;
    let correlation = catga::MessageId::new();
    let mut options = SendOptions { correlation: Some(correlation), ..Default::default() };
    options.headers.push("tenant", b"acme").unwrap();
    let answer = while_running(&[&seller], buyer.ask_with(Who, options)).await.unwrap();
    assert_eq!(answer, (correlation.to_string(), "acme".into(), true));
}

#[tokio::test]
async fn serving_by_nothing_is_a_mistake() {
    let error = App::builder("seller").state("x").state(Semaphore::new(0)).serve(price).build().await.unwrap_err();
    assert!(error.to_string().contains("`price` is served, but there is nothing to serve by"), "{error}");
}
