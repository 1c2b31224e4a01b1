//! Transactions: what one script commits, and what it refuses.
#![allow(clippy::unwrap_used)]

mod support;

use catga_contract::{
    DeadLetters, Delivery, Entry, Envelope, ErrorKind, InboxKey, LetterId, MessageId, Outgoing, Settle, UnitOfWork,
};
use catga_redis::{Redis, redis};
use std::time::Duration;
use support::{MAIL, PLACED, Server, number, parcels, publish, register, subscribe, take, unsettled};

async fn get(server: &Server, key: &str) -> Option<String> {
    redis::cmd("GET").arg(key).query_async(&mut server.raw().await.unwrap()).await.unwrap()
}

fn id(delivery: &Delivery) -> [u8; 16] {
    delivery.message.as_ref().unwrap().id.to_bytes()
}

/// Handles a delivery as a worker does, with `commands` as its effects and one message.
async fn handle(redis: &Redis, tx: &mut <Redis as UnitOfWork>::Tx, delivery: &Delivery, commands: &[redis::Cmd]) {
    let id = id(delivery);
    let outer = redis.savepoint(tx).await.unwrap();
    let key = InboxKey { consumer: MAIL, key: &id };
    assert!(matches!(redis.enter(tx, key).await.unwrap(), Entry::New));
    let inner = redis.savepoint(tx).await.unwrap();
    commands.iter().for_each(|command| tx.queue(command).unwrap());
    let event = Envelope::new(MessageId::new(), "mails.sent".into(), "text".into(), "1".into());
    let frame = event.encode().unwrap();
    let subject = "catga.mails.sent".into();
    redis.put(tx, &[Outgoing { id: event.id, subject: &subject, frame: &frame, key: None, due: None }]).await.unwrap();
    redis.release(tx, inner, true).await.unwrap();
    redis.settle(tx, &[(delivery.token, Settle::Done)]).await.unwrap();
    redis.release(tx, outer, true).await.unwrap();
}

fn count(number: u64) -> redis::Cmd {
    redis::cmd("INCRBY").arg("{shop}:count").arg(number).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn effects_mark_messages_and_acknowledgement_are_one_script() {
    let server = Server::fast().await;
    let redis = server.redis().await;
    register(&redis, MAIL, &[PLACED]).await;
    publish(&redis, &parcels(0..3)).await;
    let mut mail = subscribe(&redis, MAIL).await;
    let came = take(&mut mail, 3).await;
    let mut tx = redis.begin().await.unwrap();
    for delivery in &came {
        handle(&redis, &mut tx, delivery, &[count(number(delivery) + 1)]).await;
    }
    assert_eq!((get(&server, "{shop}:count").await, unsettled(&redis, MAIL).await), (None, 3), "queued, not done");
    redis.commit(tx).await.unwrap();
    assert_eq!((get(&server, "{shop}:count").await.as_deref(), unsettled(&redis, MAIL).await), (Some("6"), 0));
    assert_eq!(catga_contract::Outbox::unsent(&redis).await.unwrap(), 3);
    let mut tx = redis.begin().await.unwrap();
    let id = id(&came[0]);
    let entry = redis.enter(&mut tx, InboxKey { consumer: MAIL, key: &id }).await.unwrap();
    assert!(matches!(entry, Entry::Done(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_lost_a_delivery_commits_nothing_of_its_batch() {
    let server = Server::fast().await;
    let (first, second) = (server.redis().await, server.redis().await);
    register(&first, MAIL, &[PLACED]).await;
    publish(&first, &parcels(0..2)).await;
    let mut mail = subscribe(&first, MAIL).await;
    let came = take(&mut mail, 2).await;
    let mut tx = first.begin().await.unwrap();
    for delivery in &came {
        handle(&first, &mut tx, delivery, &[count(1)]).await;
    }
    // It stands still for longer than its lease, and another one takes what it has.
    drop(mail);
    let mut other = subscribe(&second, MAIL).await;
    let taken = take(&mut other, 1).await;
    assert_eq!(first.commit(tx).await.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(get(&server, "{shop}:count").await, None);
    // The worker hands it over once more: it is told that somebody is at it, and answers that without effects.
    let mut tx = first.begin().await.unwrap();
    let lost = came.iter().find(|delivery| number(delivery) == number(&taken[0])).unwrap();
    let lost_id = id(lost);
    let entry = first.enter(&mut tx, InboxKey { consumer: MAIL, key: &lost_id }).await.unwrap();
    assert!(matches!(entry, Entry::Busy { .. }), "{entry:?}");
    let again = Settle::Again { pause: Duration::ZERO, counts: false };
    first.settle(&mut tx, &[(lost.token, again)]).await.unwrap();
    first.commit(tx).await.unwrap();
    let mut tx = second.begin().await.unwrap();
    handle(&second, &mut tx, &taken[0], &[count(1)]).await;
    second.commit(tx).await.unwrap();
    assert_eq!(get(&server, "{shop}:count").await.as_deref(), Some("1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_processes_one_sets_a_mark_and_the_other_writes_nothing() {
    let server = Server::fast().await;
    let (first, second) = (server.redis().await, server.redis().await);
    let key = InboxKey { consumer: MAIL, key: b"one" };
    let (mut one, mut two) = (first.begin().await.unwrap(), second.begin().await.unwrap());
    for (redis, tx) in [(&first, &mut one), (&second, &mut two)] {
        assert!(matches!(redis.enter(tx, key).await.unwrap(), Entry::New));
        tx.queue(&count(1)).unwrap();
    }
    first.commit(one).await.unwrap();
    assert_eq!(second.commit(two).await.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(get(&server, "{shop}:count").await.as_deref(), Some("1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_at_run_time_is_told_in_parts_and_buried_without_a_retry() {
    let server = Server::fast().await;
    let redis = server.redis().await;
    register(&redis, MAIL, &[PLACED]).await;
    publish(&redis, &parcels(0..3)).await;
    let mut mail = subscribe(&redis, MAIL).await;
    let came = take(&mut mail, 3).await;
    let mut tx = redis.begin().await.unwrap();
    let wrong = redis::cmd("LPUSH").arg("{shop}:count").arg("x").to_owned();
    for delivery in &came {
        let commands = match number(delivery) {
            1 => vec![count(10), wrong.clone(), count(100)],
            _ => vec![count(1)],
        };
        handle(&redis, &mut tx, delivery, &commands).await;
    }
    redis.commit(tx).await.unwrap();
    assert_eq!(get(&server, "{shop}:count").await.as_deref(), Some("12"), "the others, and what came before it");
    assert_eq!(unsettled(&redis, MAIL).await, 0, "nothing comes again");
    assert_eq!(catga_contract::Outbox::unsent(&redis).await.unwrap(), 2, "its messages are not sent");
    let letters = redis.list(LetterId(0), 10).await.unwrap();
    let [letter] = &letters[..] else { panic!("{letters:?}") };
    assert!(letter.reason.contains("partially applied, 1 of 3 commands: ") && letter.reason.contains("WRONGTYPE"));
    assert_eq!((&letter.frame, letter.attempts, &*letter.consumer), (&came[1].frame, 1, MAIL));
    let mut tx = redis.begin().await.unwrap();
    let id = id(&came[1]);
    let entry = redis.enter(&mut tx, InboxKey { consumer: MAIL, key: &id }).await.unwrap();
    assert!(matches!(entry, Entry::Done(_)), "it is not handled again by accident");
    drop(tx);
    // Outside a delivery the caller is told.
    let mut tx = redis.begin().await.unwrap();
    tx.queue(&wrong).unwrap();
    let error = redis.commit(tx).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permanent);
    assert!(error.to_string().contains("partially applied, 0 of 1"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_others_are_refused_before_anything_is_sent() {
    let server = Server::fast().await;
    let redis = server.redis().await;
    let mut tx = redis.begin().await.unwrap();
    for (command, kind) in [
        (redis::cmd("SET").arg("count").arg(1), ErrorKind::Invalid),
        (redis::cmd("SET").arg("{other}:count").arg(1), ErrorKind::Invalid),
        (redis::cmd("DEL").arg("catga:{shop}:letters"), ErrorKind::Invalid),
        (redis::cmd("GET").arg("{shop}:count"), ErrorKind::Unsupported),
        (redis::cmd("FLUSHALL").arg("{shop}"), ErrorKind::Unsupported),
    ] {
        assert_eq!(tx.queue(command).unwrap_err().kind(), kind);
    }
    assert_eq!(tx.queued(), 0);
    tx.queue(&count(1)).unwrap();
    redis.commit(tx).await.unwrap();
    assert_eq!(get(&server, "{shop}:count").await.as_deref(), Some("1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_left_its_handler_holds_nobody_up_once_it_is_revoked() {
    let server = Server::fast().await;
    let redis = server.redis().await;
    let mut kept = redis.begin().await.unwrap();
    kept.queue(&count(1)).unwrap();
    let other = redis.clone();
    let waits = tokio::spawn(async move { drop(other.begin().await.unwrap()) });
    redis.revoke();
    waits.await.unwrap();
    assert_eq!(redis.commit(kept).await.unwrap_err().kind(), ErrorKind::Handler);
    assert_eq!(get(&server, "{shop}:count").await, None);
}
