//! Redis Streams as a transport.
#![allow(clippy::unwrap_used)]

mod support;

use catga_contract::{ErrorKind, Outcome, Settle, Settler, Subscription, Transport};
use catga_redis::{RedisTransport, redis};
use std::{
    collections::HashSet,
    time::{Duration, Instant, SystemTime},
};
use support::{
    MAIL, PLACED, Server, number, numbers, outcomes, parcel, parcel_for, parcels, publish, register, settle, subscribe,
    take, unsettled,
};

const STREAM: &str = "catga:{shop}:s:catga.orders.placed";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_comes_in_its_order_to_each_consumer_and_not_what_was_before() {
    let server = Server::fast().await;
    let redis = server.redis().await;
    register(&redis, "shop.early", &[PLACED]).await;
    publish(&redis, &parcels(0..3)).await;
    register(&redis, MAIL, &[PLACED]).await;
    publish(&redis, &parcels(3..103)).await;
    assert_eq!((unsettled(&redis, MAIL).await, unsettled(&redis, "shop.early").await), (100, 103));
    let mut mail = subscribe(&redis, MAIL).await;
    let came = take(&mut mail, 100).await;
    assert_eq!(numbers(&came), (3..103).collect::<Vec<_>>());
    settle(&mail, &came, Settle::Done).await;
    assert_eq!((unsettled(&redis, MAIL).await, unsettled(&redis, "shop.early").await), (0, 103));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_messages_the_one_that_always_fails_holds_nobody_up() {
    const PAUSE: Duration = Duration::from_millis(150);
    let server = Server::fast().await;
    let redis = server.redis().await;
    register(&redis, MAIL, &[PLACED]).await;
    let mut mail = subscribe(&redis, MAIL).await;
    let began = Instant::now();
    publish(&redis, &parcels(0..100)).await;
    let (mut done, mut tries) = (HashSet::new(), Vec::new());
    let mut others = None;
    while tries.len() < 4 {
        for delivery in take(&mut mail, 1).await {
            if number(&delivery) == 0 {
                assert_eq!(delivery.started as usize, tries.len(), "each try is counted");
                tries.push(Instant::now());
                settle(&mail, &[delivery], Settle::Again { pause: PAUSE, counts: true }).await;
            } else {
                assert!(done.insert(number(&delivery)), "nothing comes twice");
                settle(&mail, &[delivery], Settle::Done).await;
            }
        }
        if done.len() == 99 {
            others.get_or_insert_with(|| began.elapsed());
        }
    }
    let others = others.expect("the other 99 came");
    assert!(others < PAUSE * 2, "the other 99 took {others:?}");
    for pair in tries.windows(2) {
        let pause = pair[1] - pair[0];
        assert!(pause >= PAUSE - Duration::from_millis(1) && pause < PAUSE * 3, "it came again after {pause:?}");
    }
    assert_eq!(unsettled(&redis, MAIL).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_cannot_be_read_comes_as_it_is_and_the_rest_flows() {
    let server = Server::fast().await;
    let redis = server.redis().await;
    register(&redis, MAIL, &[PLACED]).await;
    publish(&redis, &[parcel(0)]).await;
    let mut raw = server.raw().await.unwrap();
    for fields in [["f", "no frame"], ["colour", "blue"]] {
        let _: String = redis::cmd("XADD").arg(STREAM).arg("*").arg(&fields).query_async(&mut raw).await.unwrap();
    }
    publish(&redis, &[parcel(1)]).await;
    let mut mail = subscribe(&redis, MAIL).await;
    let came = take(&mut mail, 4).await;
    assert_eq!((number(&came[0]), number(&came[3])), (0, 1));
    for (delivery, bytes) in came[1..3].iter().zip([&b"no frame"[..], b"colour=blue\n"]) {
        assert_eq!(delivery.message.as_ref().unwrap_err().kind(), ErrorKind::Codec);
        assert_eq!(delivery.frame, bytes);
    }
    settle(&mail, &came, Settle::Bury).await;
    assert_eq!(unsettled(&redis, MAIL).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_member_had_is_tried_alone_by_another_and_each_such_try_is_counted() {
    let server = Server::fast().await;
    let (dies, lives) = (server.redis().await, server.redis().await);
    register(&dies, MAIL, &[PLACED]).await;
    publish(&dies, &parcels(0..5)).await;
    // Read by hand, as a process does that dies before it has said anything.
    let mut raw = server.raw().await.unwrap();
    let read = ["XREADGROUP", "GROUP", MAIL, "dead-1", "COUNT", "3", "STREAMS", STREAM, ">"];
    let mut call = redis::cmd(read[0]);
    call.arg(&read[1..]);
    let _: redis::Value = call.query_async(&mut raw).await.unwrap();
    let mut mail = subscribe(&lives, MAIL).await;
    let came = take(&mut mail, 2).await;
    assert_eq!(numbers(&came), [3, 4], "what nobody had comes at once");
    settle(&mail, &came, Settle::Done).await;
    for expected in 0..3 {
        let mut batch = Vec::new();
        mail.next_batch(64, &mut batch).await.unwrap();
        assert_eq!((numbers(&batch), batch[0].started), (vec![expected], 0), "alone");
        assert!(batch[0].first.is_some());
        let mut tries = redis::cmd("HLEN");
        let tries: u64 = tries.arg("catga:{shop}:tries:shop.mail").query_async(&mut raw).await.unwrap();
        assert_eq!(tries, 1, "the try is written down before it starts");
        settle(&mail, &batch, Settle::Done).await;
    }
    assert_eq!(unsettled(&lives, MAIL).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_takes_longer_than_the_lease_keeps_its_delivery() {
    let server = Server::fast().await;
    let (first, second) = (server.redis().await, server.redis().await);
    register(&first, MAIL, &[PLACED]).await;
    publish(&first, &parcels(0..1)).await;
    let mut slow = subscribe(&first, MAIL).await;
    let came = take(&mut slow, 1).await;
    let mut other = subscribe(&second, MAIL).await;
    let mut stolen = Vec::new();
    let waited = tokio::time::timeout(Duration::from_millis(2_000), other.next_batch(1, &mut stolen)).await;
    assert!(waited.is_err() && stolen.is_empty(), "it went to another member while its handler ran");
    settle(&slow, &came, Settle::Done).await;
    assert_eq!(unsettled(&first, MAIL).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_lost_its_delivery_is_refused_but_for_a_late_done() {
    let server = Server::fast().await;
    let (first, second) = (server.redis().await, server.redis().await);
    register(&first, MAIL, &[PLACED]).await;
    publish(&first, &parcels(0..1)).await;
    let mut frozen = subscribe(&first, MAIL).await;
    let old = take(&mut frozen, 1).await;
    let settler = frozen.settler();
    // Its process stands still: nothing says any more that it lives.
    drop(frozen);
    let mut other = subscribe(&second, MAIL).await;
    let new = take(&mut other, 1).await;
    let again = Settle::Again { pause: Duration::ZERO, counts: true };
    for stale in [again, Settle::Bury] {
        let error = settler.settle(&[(old[0].token, stale)]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    }
    assert_eq!(unsettled(&second, MAIL).await, 1, "and it changed nothing");
    settler.settle(&[(old[0].token, Settle::Done)]).await.unwrap();
    settle(&other, &new, Settle::Done).await;
    assert_eq!(unsettled(&second, MAIL).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_members_are_removed_and_nothing_of_theirs_is_lost() {
    let server = Server::fast().await;
    let redis = redis_with_lease(&server, 100).await;
    register(&redis, MAIL, &[PLACED]).await;
    publish(&redis, &parcels(0..4)).await;
    let mut raw = server.raw().await.unwrap();
    for name in ["dead-1", "dead-2"] {
        let mut call = redis::cmd("XREADGROUP");
        call.arg("GROUP").arg(MAIL).arg(name).arg("COUNT").arg(2).arg("STREAMS").arg(STREAM).arg(">");
        let _: redis::Value = call.query_async(&mut raw).await.unwrap();
    }
    let mut mail = subscribe(&redis, MAIL).await;
    let came = take(&mut mail, 4).await;
    let mut all = numbers(&came);
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2, 3]);
    settle(&mail, &came, Settle::Done).await;
    // It goes on asking, as a worker does.
    let asks = tokio::spawn(async move { mail.next_batch(1, &mut Vec::new()).await });
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let members: Vec<redis::Value> =
            redis::cmd("XINFO").arg("CONSUMERS").arg(STREAM).arg(MAIL).query_async(&mut raw).await.unwrap();
        if members.len() == 1 {
            break;
        }
        assert!(Instant::now() < deadline, "{members:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    asks.abort();
}

async fn redis_with_lease(server: &Server, millis: u64) -> catga_redis::Redis {
    catga_redis::Redis::connect(server.options().lease(Duration::from_millis(millis))).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_stay_under_their_bound_and_drop_nothing_that_is_not_settled() {
    const BOUND: usize = 500;
    const ALL: u64 = 3_000;
    let server = Server::fast().await;
    let redis = catga_redis::Redis::connect(server.options().max_len(BOUND)).await.unwrap();
    register(&redis, MAIL, &[PLACED]).await;
    register(&redis, "shop.stock", &[PLACED]).await;
    let publisher = redis.clone();
    let publishing = tokio::spawn(async move {
        let mut refused = 0;
        for number in 0..ALL / 50 {
            let mut rest = parcels(number * 50..(number + 1) * 50);
            while !rest.is_empty() {
                let told = outcomes(&publisher, &rest).await;
                let full = told.iter().position(|outcome| match outcome {
                    Outcome::Refused(error) => {
                        assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
                        true
                    }
                    _ => false,
                });
                rest.drain(..full.unwrap_or(rest.len()));
                if full.is_some() {
                    refused += 1;
                    tokio::task::yield_now().await;
                }
            }
        }
        refused
    });
    let watched = server.raw().await.unwrap();
    let watching = tokio::spawn(async move {
        let (mut raw, mut most) = (watched, 0_usize);
        loop {
            let length: usize = redis::cmd("XLEN").arg(STREAM).query_async(&mut raw).await.unwrap();
            most = most.max(length);
            assert!(length <= BOUND, "{length} entries");
        }
    });
    let mut consuming = Vec::new();
    for consumer in [MAIL, "shop.stock"] {
        let mut subscription = subscribe(&redis, consumer).await;
        consuming.push(tokio::spawn(async move {
            let mut seen = HashSet::new();
            while (seen.len() as u64) < ALL {
                let came = take(&mut subscription, 1).await;
                settle(&subscription, &came, Settle::Done).await;
                seen.extend(numbers(&came));
                if consumer == MAIL && seen.len() % 64 == 0 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
        }));
    }
    let refused = publishing.await.unwrap();
    for consuming in consuming {
        consuming.await.unwrap();
    }
    assert!(refused > 0, "the bound was met, and answered as busy");
    assert!(!watching.is_finished(), "the bound was broken");
    watching.abort();
    assert_eq!((unsettled(&redis, MAIL).await, unsettled(&redis, "shop.stock").await), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_is_gone_is_made_again_where_it_had_settled() {
    let server = Server::fast().await;
    let redis = server.redis().await;
    register(&redis, MAIL, &[PLACED]).await;
    register(&redis, "shop.stock", &[PLACED]).await;
    publish(&redis, &parcels(0..20)).await;
    let mut mail = subscribe(&redis, MAIL).await;
    let came = take(&mut mail, 20).await;
    settle(&mail, &came[..15], Settle::Done).await;
    let mut raw = server.raw().await.unwrap();
    let _: u64 = redis::cmd("XGROUP").arg("DESTROY").arg(STREAM).arg(MAIL).query_async(&mut raw).await.unwrap();
    publish(&redis, &parcels(20..25)).await;
    let came = take(&mut mail, 5).await;
    assert_eq!(numbers(&came), [20, 21, 22, 23, 24], "what this member has is with it, what was settled is over");
    // Another process gets all that was not settled.
    settle(&mail, &came, Settle::Done).await;
    drop(mail);
    let mut mail = subscribe(&redis, MAIL).await;
    let mut came = numbers(&take(&mut mail, 5).await);
    came.sort_unstable();
    assert_eq!(came, [15, 16, 17, 18, 19]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_gone_is_made_again_with_its_groups() {
    let server = Server::fast().await;
    let redis = server.redis().await;
    register(&redis, MAIL, &[PLACED]).await;
    let mut mail = subscribe(&redis, MAIL).await;
    publish(&redis, &[parcel(0)]).await;
    let came = take(&mut mail, 1).await;
    settle(&mail, &came, Settle::Done).await;
    let mut raw = server.raw().await.unwrap();
    let _: u64 = redis::cmd("DEL").arg(STREAM).query_async(&mut raw).await.unwrap();
    publish(&redis, &parcels(1..4)).await;
    assert_eq!(numbers(&take(&mut mail, 3).await), [1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parcel_for_one_consumer_reaches_no_other() {
    let server = Server::fast().await;
    let redis = server.redis().await;
    register(&redis, MAIL, &[PLACED]).await;
    register(&redis, "shop.stock", &[PLACED]).await;
    let mut replay = parcel(7);
    replay.to = Some(MAIL.into());
    let mut nowhere = parcel(8);
    nowhere.to = Some("shop.gone".into());
    let told = outcomes(&redis, &[replay, nowhere]).await;
    let Outcome::Refused(error) = &told[1] else { panic!("{told:?}") };
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!((unsettled(&redis, MAIL).await, unsettled(&redis, "shop.stock").await), (1, 0));
    // One that somebody else put into the subject's stream is settled by the others, unhandled.
    let mut raw = server.raw().await.unwrap();
    let mut add = redis::cmd("XADD");
    add.arg(STREAM).arg("*").arg("f").arg(&parcel(9).frame[..]).arg("to").arg(MAIL);
    let _: String = add.query_async(&mut raw).await.unwrap();
    publish(&redis, &[parcel(10)]).await;
    let (mut mail, mut stock) = (subscribe(&redis, MAIL).await, subscribe(&redis, "shop.stock").await);
    assert_eq!(numbers(&take(&mut mail, 3).await), [7, 9, 10]);
    let came = take(&mut stock, 1).await;
    assert_eq!(numbers(&came), [10]);
    settle(&stock, &came, Settle::Done).await;
    assert_eq!(unsettled(&redis, "shop.stock").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_id_is_published_once_where_that_is_asked_for() {
    let server = Server::fast().await;
    let redis = server.redis().await;
    let once = RedisTransport::streams(&redis).dedupe(Duration::from_secs(60));
    register(&once, MAIL, &[PLACED]).await;
    let twice = parcel(0);
    assert!(matches!(
        outcomes(&once, &[twice.clone(), twice.clone()]).await[..],
        [Outcome::Stored, Outcome::Duplicate]
    ));
    assert!(matches!(outcomes(&once, std::slice::from_ref(&twice)).await[..], [Outcome::Duplicate]));
    publish(&redis, &[twice]).await;
    assert_eq!(unsettled(&redis, MAIL).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_due_message_comes_when_it_is_due_also_to_another_process() {
    let server = Server::fast().await;
    let (here, there) = (server.redis().await, server.redis().await);
    register(&here, MAIL, &[PLACED]).await;
    let mut mail = subscribe(&there, MAIL).await;
    let due = SystemTime::now() + Duration::from_millis(700);
    let (mut late, mut never) = (parcel(0), parcel(1));
    (late.due, never.due) = (Some(due), Some(due + Duration::from_secs(3_600)));
    publish(&here, &[late, never, parcel(2)]).await;
    assert_eq!(unsettled(&here, MAIL).await, 3);
    assert_eq!(numbers(&take(&mut mail, 1).await), [2], "what is due later holds nobody up");
    assert_eq!(numbers(&take(&mut mail, 1).await), [0]);
    let late = SystemTime::now().duration_since(due).expect("not before its time");
    assert!(late < Duration::from_millis(700), "{late:?} too late");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_messages_need_four_connections() {
    let server = Server::fast().await;
    let redis = server.redis().await;
    let (streams, pubsub) = (RedisTransport::streams(&redis), RedisTransport::pubsub(&redis));
    register(&streams, MAIL, &[PLACED]).await;
    register(&pubsub, "shop.prices", &["catga.prices"]).await;
    let (mut mail, mut prices) = (subscribe(&streams, MAIL).await, subscribe(&pubsub, "shop.prices").await);
    for batch in 0..20 {
        publish(&streams, &parcels(batch * 50..(batch + 1) * 50)).await;
        let heard: Vec<_> = (batch * 50..(batch + 1) * 50).map(|number| parcel_for("catga.prices", number)).collect();
        publish(&pubsub, &heard).await;
    }
    let (came, heard) = (take(&mut mail, 1_000).await, take(&mut prices, 1_000).await);
    settle(&mail, &came, Settle::Done).await;
    assert_eq!(numbers(&heard), numbers(&came));
    let mut raw = server.raw().await.unwrap();
    let stats: String = redis::cmd("INFO").arg("stats").query_async(&mut raw).await.unwrap();
    let received = stats.lines().find_map(|line| line.strip_prefix("total_connections_received:")).unwrap();
    // Two are the test's own: the first saw that the server is up, the second asks here.
    let ours = received.trim().parse::<u64>().unwrap() - 2;
    assert!(ours <= 4, "{ours} connections");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_consumer_holds_no_stream_back() {
    let server = Server::fast().await;
    let redis = server.redis().await;
    register(&redis, MAIL, &[PLACED]).await;
    publish(&redis, &parcels(0..3)).await;
    assert_eq!(redis.remove_consumer(MAIL).await.unwrap(), 3);
    assert_eq!(redis.remove_consumer(MAIL).await.unwrap_err().kind(), ErrorKind::NotFound);
    publish(&redis, &parcels(3..5)).await;
    assert_eq!((redis.unheard(PLACED), unsettled(&redis, MAIL).await), (2, 0));
    let Err(error) = redis.subscribe(catga_contract::SubscribeOptions::new(MAIL.into())).await else { panic!() };
    assert_eq!(error.kind(), ErrorKind::NotFound);
}
