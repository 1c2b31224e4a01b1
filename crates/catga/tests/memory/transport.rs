//! Publishing, receiving and settling.

use super::*;
use catga::{Capabilities, Durability, ErrorKind, Str};
use std::{sync::Arc, time::SystemTime};
use tokio::time::Instant;

async fn unsettled(store: &Memory, consumer: &'static str) -> u64 {
    store.unsettled(&Str::from_static(consumer)).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn it_says_what_it_promises() {
    let Capabilities { durable, redelivery, delay, groups, fenced_settle, atomic_batch, dedupe, max_payload, .. } =
        Memory::new().capabilities();
    assert_eq!(durable, Durability::Process);
    assert!(redelivery && delay && groups && fenced_settle && atomic_batch && !dedupe);
    assert_eq!(max_payload, 16 * 1024 * 1024);
}

#[tokio::test(start_paused = true)]
async fn each_consumer_gets_everything_in_order_and_nothing_twice() {
    let store = with_consumers(Memory::new(), &["a", "b"]).await;
    publish_numbers(&store, 0..150, None).await;
    publish(&store, &[parcel(150, None)]).await;
    for consumer in ["a", "b"] {
        let (mut member, mut got) = (member(&store, consumer).await, Vec::new());
        while got.len() < 151 {
            let batch = next(&mut member).await;
            assert!(batch.len() <= 64, "{} at a time", batch.len());
            got.extend(numbers(&batch));
            settle(&member, &batch, DONE).await;
        }
        assert_eq!(got, (0..151).collect::<Vec<_>>());
        assert_eq!((now(&mut member).len(), unsettled(&store, consumer).await), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn who_registers_later_gets_what_is_published_later_and_who_is_known_keeps_its_place() {
    let store = with_consumers(Memory::new(), &["a"]).await;
    publish_numbers(&store, [1], None).await;
    let store = with_consumers(store, &["a", "b"]).await;
    publish_numbers(&store, [2], None).await;
    assert_eq!(numbers(&now(&mut member(&store, "a").await)), [1, 2]);
    assert_eq!(numbers(&now(&mut member(&store, "b").await)), [2]);
    let error = store.subscribe(SubscribeOptions::new("c".into())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("`c` is not registered"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn what_nobody_is_registered_for_is_counted() {
    let store = Memory::new();
    publish_numbers(&store, [1, 2], None).await;
    publish_numbers(&store, [3], None).await;
    assert_eq!((store.unheard("s"), store.unheard("t")), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn what_a_dropped_member_did_not_settle_comes_again_first_and_uncounted() {
    let store = with_consumers(Memory::new(), &["a"]).await;
    publish_numbers(&store, 0..10, None).await;
    let mut first = member(&store, "a").await;
    let batch = next_most(&mut first, 4).await;
    settle(&first, &batch[1..2], DONE).await;
    drop(first);
    let mut second = member(&store, "a").await;
    let mut got = next(&mut second).await;
    got.sort_by_key(number);
    assert_eq!(numbers(&got), [0, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert!(got.iter().all(|delivery| delivery.started == 0 && delivery.first.is_none()));
}

#[tokio::test(start_paused = true)]
async fn a_failed_delivery_comes_again_after_its_pause_and_not_before() {
    let store = with_consumers(Memory::new(), &["a"]).await;
    publish_numbers(&store, [1], None).await;
    let mut member = member(&store, "a").await;
    let began = Instant::now();
    for started in 0..3 {
        let batch = next(&mut member).await;
        assert_eq!((numbers(&batch), batch[0].started), (vec![1], started));
        assert_eq!(batch[0].first.is_some(), started > 0);
        assert_eq!(began.elapsed().as_secs(), u64::from(started) * 30);
        settle(&member, &batch, again(30 * SECOND)).await;
        assert_eq!((now(&mut member).len(), unsettled(&store, "a").await), (0, 1));
    }
    let batch = next(&mut member).await;
    settle(&member, &batch, Settle::Again { pause: SECOND, counts: false }).await;
    assert_eq!(next(&mut member).await[0].started, 3, "that try did not count");
}

#[tokio::test(start_paused = true)]
async fn who_fails_again_and_again_does_not_hold_up_the_others() {
    let store = with_consumers(Memory::new(), &["a"]).await;
    publish_numbers(&store, 0..100, None).await;
    let (mut member, mut good) = (member(&store, "a").await, 0);
    while good < 50 {
        // Half of them are never to be handled.
        for delivery in next_most(&mut member, 1).await {
            let bad = number(&delivery) < 50;
            good += u64::from(!bad);
            settle(&member, &[delivery], if bad { again(Duration::ZERO) } else { DONE }).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_for_later_comes_when_it_is_due() {
    let store = with_consumers(Memory::new(), &["a"]).await;
    let due = |number, after: Duration| {
        let mut parcel = parcel(number, Some("k"));
        parcel.due = Some(SystemTime::now() + after);
        parcel
    };
    publish(&store, &[due(1, 60 * SECOND), due(2, 30 * SECOND), due(3, Duration::ZERO), parcel(4, Some("k"))]).await;
    let (mut member, began, mut got) = (member(&store, "a").await, Instant::now(), Vec::new());
    while got.len() < 4 {
        let batch = next(&mut member).await;
        got.extend(batch.iter().map(|delivery| (number(delivery), began.elapsed().as_secs_f64().round() as u64)));
        settle(&member, &batch, DONE).await;
    }
    assert_eq!(got, [(3, 0), (4, 0), (2, 30), (1, 60)]);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_due_sooner_wakes_who_sleeps_longer() {
    let store = with_consumers(Memory::new(), &["a"]).await;
    let due = |number, after: Duration| {
        let mut parcel = parcel(number, None);
        parcel.due = Some(SystemTime::now() + after);
        parcel
    };
    publish(&store, &[due(1, 600 * SECOND)]).await;
    let mut one = member(&store, "a").await;
    let mut two = member(&store, "a").await;
    let began = Instant::now();
    let waits = async {
        tokio::select! { batch = next(&mut one) => batch, batch = next(&mut two) => batch }
    };
    let publishes = async {
        tokio::time::sleep(SECOND).await;
        publish(&store, &[due(2, 5 * SECOND)]).await;
    };
    let (batch, ()) = tokio::join!(waits, publishes);
    assert_eq!((numbers(&batch), began.elapsed().as_secs()), (vec![2], 6));
}

#[tokio::test(start_paused = true)]
async fn members_share_the_work_and_a_wake_is_never_lost() {
    let store = with_consumers(Memory::new(), &["a"]).await;
    let got = Arc::new(std::sync::Mutex::new(Vec::new()));
    let members = (0..4).map(|_| {
        let (store, got) = (store.clone(), got.clone());
        tokio::spawn(async move {
            let mut member = member(&store, "a").await;
            loop {
                // A wait that is given up hands its wake on.
                let waited = tokio::time::timeout(Duration::from_millis(1), next_most(&mut member, 3)).await;
                let Ok(batch) = waited else { continue };
                tokio::task::yield_now().await;
                settle(&member, &batch, DONE).await;
                got.lock().unwrap().extend(numbers(&batch));
            }
        })
    });
    let members: Vec<_> = members.collect();
    for number in 0..500 {
        publish(&store, &[parcel(number, None)]).await;
        if number % 7 == 0 {
            tokio::time::sleep(Duration::from_micros(300)).await;
        }
    }
    while unsettled(&store, "a").await > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    members.iter().for_each(tokio::task::JoinHandle::abort);
    let mut got = got.lock().unwrap().clone();
    got.sort_unstable();
    assert_eq!(got, (0..500).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn stale_answers_are_refused_but_that_an_effect_is_done_never_is() {
    let store = with_consumers(Memory::new(), &["a"]).await;
    publish_numbers(&store, 1..=3, None).await;
    let mut first = member(&store, "a").await;
    let old = next(&mut first).await;
    let settler = first.settler();
    drop(first);
    let mut second = member(&store, "a").await;
    let mut new = next(&mut second).await;
    new.sort_by_key(number);
    for answer in [again(SECOND), Settle::Bury, BACK] {
        let error = settler.settle(&[(old[0].token, answer)]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{answer:?}");
    }
    // What was done is done, whoever has it; the others of the same answer are taken.
    settler.settle(&[(old[1].token, DONE)]).await.unwrap();
    let error = settler.settle(&[(old[0].token, again(SECOND)), (old[2].token, DONE)]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(unsettled(&store, "a").await, 1);
    settle(&second, &new, DONE).await; // twice for two of them
    settle(&second, &new, DONE).await;
    let error = second.settler().settle(&[(new[0].token, BACK)]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "it was settled");
    assert_eq!(unsettled(&store, "a").await, 0);
    // The slots are used again: an answer to what was there means nothing to what is there.
    publish_numbers(&store, 4..=6, None).await;
    settler.settle(&[(old[0].token, DONE), (new[0].token, DONE)]).await.unwrap();
    assert_eq!(numbers(&now(&mut second)), [4, 5, 6]);
}

#[tokio::test(start_paused = true)]
async fn publishing_waits_for_room_in_the_order_in_which_publishers_came() {
    let store = with_consumers(Memory::new().capacity(2).unwrap(), &["a"]).await;
    publish_numbers(&store, [0, 1], None).await;
    let publishers: Vec<_> = (2..6)
        .map(|number| {
            let store = store.clone();
            tokio::spawn(async move { publish(&store, &[parcel(number, None)]).await })
        })
        .collect();
    tokio::task::yield_now().await;
    let mut member = member(&store, "a").await;
    assert_eq!(unsettled(&store, "a").await, 2, "nobody gets in");
    publishers[1].abort(); // The one with number 3 gives up; its place in the line goes.
    let mut got = Vec::new();
    while got.len() < 5 {
        let batch = next_most(&mut member, 1).await;
        assert!(unsettled(&store, "a").await <= 2);
        got.extend(numbers(&batch));
        settle(&member, &batch, DONE).await;
    }
    assert_eq!(got, [0, 1, 2, 4, 5]);
    assert_eq!(store.capabilities().max_payload, 16 << 20);
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_kept_whole_and_one_that_is_given_up_takes_no_room() {
    let store = with_consumers(Memory::new().capacity(4).unwrap(), &["a", "b"]).await;
    let (mut a, mut b) = (member(&store, "a").await, member(&store, "b").await);
    publish_numbers(&store, 0..3, None).await;
    let batch = next(&mut a).await;
    settle(&a, &batch, DONE).await;
    // There is room at `a` and none at `b`: nothing of it comes before there is.
    let three: Vec<_> = (3..6).map(|number| parcel(number, None)).collect();
    {
        let mut outcomes = Vec::new();
        let mut waits = Box::pin(store.publish(&three, &mut outcomes));
        assert!(poll_once(waits.as_mut()).is_none());
        assert!(now(&mut a).is_empty());
    }
    // It was given up, so `a` has all its room.
    assert_eq!(unsettled(&store, "a").await, 0);
    let batch = next(&mut b).await;
    settle(&b, &batch, DONE).await;
    publish_numbers(&store, 10..14, None).await;
    assert_eq!((now(&mut a).len(), now(&mut b).len()), (4, 4));
}

#[tokio::test(start_paused = true)]
async fn a_batch_larger_than_the_capacity_gets_in_when_nothing_is_there() {
    let store = with_consumers(Memory::new().capacity(2).unwrap(), &["a"]).await;
    publish_numbers(&store, [0], None).await;
    let mut outcomes = Vec::new();
    let five: Vec<_> = (1..6).map(|number| parcel(number, None)).collect();
    let mut waits = Box::pin(store.publish(&five, &mut outcomes));
    assert!(poll_once(waits.as_mut()).is_none());
    let mut member = member(&store, "a").await;
    let batch = next(&mut member).await;
    settle(&member, &batch, DONE).await;
    waits.await.unwrap();
    assert_eq!(numbers(&next(&mut member).await), [1, 2, 3, 4, 5]);
}

#[tokio::test(start_paused = true)]
async fn what_is_too_large_or_for_nobody_is_refused_and_the_rest_is_kept() {
    let store = with_consumers(Memory::new(), &["a"]).await;
    let mut large = parcel(1, None);
    large.frame = vec![0; 16 * 1024 * 1024 + 1].into();
    let mut astray = parcel(2, None);
    astray.to = Some("nobody".into());
    let mut outcomes = Vec::new();
    store.publish(&[large, astray, parcel(3, None)], &mut outcomes).await.unwrap();
    let kind = |outcome: &Outcome| match outcome {
        Outcome::Refused(error) => Some(error.kind()),
        _ => None,
    };
    let kinds: Vec<_> = outcomes.iter().map(kind).collect();
    assert_eq!(kinds, [Some(ErrorKind::Invalid), Some(ErrorKind::NotFound), None]);
    assert_eq!(numbers(&now(&mut member(&store, "a").await)), [3]);
}

#[tokio::test(start_paused = true)]
async fn a_parcel_for_one_consumer_comes_to_no_other() {
    let store = with_consumers(Memory::new(), &["a", "b"]).await;
    let mut one = parcel(1, None);
    one.to = Some("b".into());
    publish(&store, &[one]).await;
    assert!(now(&mut member(&store, "a").await).is_empty());
    assert_eq!(numbers(&now(&mut member(&store, "b").await)), [1]);
}

#[tokio::test(start_paused = true)]
async fn a_consumer_is_removed_with_what_waits_for_it_and_publishers_go_on() {
    let store = with_consumers(Memory::new().capacity(2).unwrap(), &["a", "b"]).await;
    publish_numbers(&store, [1, 2], None).await;
    let mut running = member(&store, "b").await;
    assert_eq!(store.remove_consumer("b").unwrap_err().kind(), ErrorKind::Busy);
    let batch = next(&mut running).await;
    settle(&running, &batch, DONE).await;
    let mut outcomes = Vec::new();
    let four = [parcel(3, None), parcel(4, None)];
    let mut waits = Box::pin(store.publish(&four, &mut outcomes));
    assert!(poll_once(waits.as_mut()).is_none(), "`a` is full");
    assert_eq!(store.remove_consumer("a").unwrap(), 2);
    waits.await.unwrap();
    assert_eq!(numbers(&now(&mut running)), [3, 4]);
    assert_eq!(store.remove_consumer("a").unwrap_err().kind(), ErrorKind::NotFound);
    let store = with_consumers(store, &["a"]).await;
    assert!(now(&mut member(&store, "a").await).is_empty(), "it begins anew");
}

#[test]
fn bounds_are_checked() {
    for capacity in [0, 1 << 24] {
        let error = Memory::new().capacity(capacity).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("1 to 16777215"), "{error}");
    }
    assert_eq!(Memory::new().keep_marks(SECOND, 10).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(Memory::new().keep_marks(60 * SECOND, 0).unwrap_err().kind(), ErrorKind::Invalid);
}
