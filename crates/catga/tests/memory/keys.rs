//! Order per key, whatever fails.

use super::*;
use catga::{DeadLetters, Key, LetterId, Str};
use std::{collections::HashMap, time::SystemTime};
use tokio::time::Instant;

const K: Option<&str> = Some("k");

fn letter(frame: &[u8]) -> catga_contract::NewLetter<'_> {
    catga_contract::NewLetter {
        consumer: "a",
        handler: "h",
        frame,
        reason: "no stamp",
        attempts: 3,
        node: "test",
        first: SystemTime::UNIX_EPOCH + SECOND,
        last: SystemTime::UNIX_EPOCH + 2 * SECOND,
        parks: Some(Key::new("k").digest()),
    }
}

#[tokio::test(start_paused = true)]
async fn later_ones_of_a_key_wait_while_one_is_with_a_member_and_others_do_not() {
    let store = with_consumers(Memory::new(), &["a"]).await;
    let (mut one, mut two) = (member(&store, "a").await, member(&store, "a").await);
    publish_numbers(&store, [1, 2], K).await;
    let batch = next(&mut one).await;
    assert_eq!(numbers(&batch), [1, 2], "one batch may have several");
    publish_numbers(&store, [3], K).await;
    publish_numbers(&store, [10], Some("other")).await;
    publish_numbers(&store, [20], None).await;
    assert_eq!(numbers(&now(&mut two)), [10, 20]);
    assert!(now(&mut one).is_empty(), "also for who has them");
    settle(&one, &batch[..1], DONE).await;
    assert!(now(&mut two).is_empty(), "the second is still out");
    settle(&one, &batch[1..], DONE).await;
    assert_eq!(numbers(&next(&mut two).await), [3]);
}

#[tokio::test(start_paused = true)]
async fn while_one_waits_for_its_next_try_those_behind_it_wait_and_then_come_in_order() {
    let store = with_consumers(Memory::new(), &["a"]).await;
    let mut member = member(&store, "a").await;
    publish_numbers(&store, 1..=4, K).await;
    let batch = next_most(&mut member, 3).await;
    let began = Instant::now();
    let tokens: Vec<_> = batch.iter().map(|delivery| delivery.token).collect();
    // The second fails; the third was handed out with it and comes back unstarted.
    let answers = [(tokens[0], DONE), (tokens[1], again(7 * SECOND)), (tokens[2], BACK)];
    member.settler().settle(&answers).await.unwrap();
    publish_numbers(&store, [5], K).await;
    assert!(now(&mut member).is_empty());
    let batch = next(&mut member).await;
    assert_eq!((numbers(&batch), began.elapsed().as_secs()), (vec![2, 3, 4, 5], 7));
    let told: Vec<_> = batch.iter().map(|delivery| (delivery.started, delivery.first.is_some())).collect();
    assert_eq!(told, [(1, true), (0, false), (0, false), (0, false)]);
}

#[tokio::test(start_paused = true)]
async fn answers_in_any_order_keep_the_order() {
    let store = with_consumers(Memory::new(), &["a"]).await;
    let mut member = member(&store, "a").await;
    publish_numbers(&store, 1..=5, K).await;
    let batch = next_most(&mut member, 4).await;
    for at in [2, 0, 3, 1] {
        settle(&member, &batch[at..=at], BACK).await;
    }
    assert_eq!(numbers(&next(&mut member).await), [1, 2, 3, 4, 5]);
}

#[tokio::test(start_paused = true)]
async fn what_a_dropped_member_had_goes_to_the_next_in_order() {
    let store = with_consumers(Memory::new(), &["a"]).await;
    let (mut one, mut two) = (member(&store, "a").await, member(&store, "a").await);
    publish_numbers(&store, 1..=6, K).await;
    let batch = next_most(&mut one, 3).await;
    assert!(now(&mut two).is_empty());
    settle(&one, &batch[..1], DONE).await;
    drop(one);
    assert_eq!(numbers(&next(&mut two).await), [2, 3, 4, 5, 6]);
}

#[tokio::test(start_paused = true)]
async fn one_buried_lets_the_others_pass_unless_it_parks() {
    let store = with_consumers(Memory::new(), &["a"]).await;
    let mut skips = member(&store, "a").await;
    publish_numbers(&store, 1..=2, K).await;
    let batch = next_most(&mut skips, 1).await;
    settle(&skips, &batch, Settle::Bury).await;
    assert_eq!(numbers(&next(&mut skips).await), [2]);
}

#[tokio::test(start_paused = true)]
async fn behind_a_buried_one_the_key_waits_for_its_replay() {
    let store = with_consumers(Memory::new(), &["a"]).await;
    let mut member = parking_member(&store, "a").await;
    publish_numbers(&store, 1..=3, K).await;
    publish_numbers(&store, [10], Some("other")).await;
    let batch = next_most(&mut member, 2).await;
    let id = store.bury(&letter(&batch[0].frame)).await.unwrap();
    member.settler().settle(&[(batch[0].token, Settle::Bury), (batch[1].token, BACK)]).await.unwrap();
    publish_numbers(&store, [4], K).await;
    let other = next(&mut member).await;
    assert_eq!(numbers(&other), [10]);
    settle(&member, &other, DONE).await;
    let unsettled = async || store.unsettled(&Str::from_static("a")).await.unwrap();
    assert_eq!(unsettled().await, 0, "they wait for a human");
    publish_numbers(&store, [5], K).await;
    assert_eq!(unsettled().await, 0, "so do those that nobody has looked at");

    assert!(store.replay(id).await.unwrap() && !store.replay(id).await.unwrap());
    assert_eq!(unsettled().await, 5);
    let batch = next_most(&mut member, 1).await;
    assert_eq!((numbers(&batch), batch[0].started), (vec![1], 0));
    assert!(now(&mut member).is_empty(), "it is not done yet");
    settle(&member, &batch, again(SECOND)).await;
    let batch = next_most(&mut member, 1).await;
    assert_eq!(numbers(&batch), [1], "nor passed after a failure");
    settle(&member, &batch, DONE).await;
    let batch = next(&mut member).await;
    assert_eq!(numbers(&batch), [2, 3, 4, 5]);
    settle(&member, &batch, DONE).await;
    assert_eq!(unsettled().await, 0);
}

#[tokio::test(start_paused = true)]
async fn those_behind_a_letter_go_on_when_it_is_removed() {
    let store = with_consumers(Memory::new(), &["a"]).await;
    let mut member = parking_member(&store, "a").await;
    publish_numbers(&store, 1..=2, K).await;
    let batch = next_most(&mut member, 1).await;
    store.bury(&letter(&batch[0].frame)).await.unwrap();
    settle(&member, &batch, Settle::Bury).await;
    assert!(now(&mut member).is_empty());
    let waits = next(&mut member);
    let removes = store.remove(LetterId(1));
    let (batch, removed) = tokio::join!(waits, removes);
    assert_eq!(numbers(&batch), [2]);
    assert!(removed.unwrap() && !store.remove(LetterId(1)).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn one_that_is_buried_again_parks_again_and_two_letters_park_twice() {
    let store = with_consumers(Memory::new(), &["a"]).await;
    let mut member = parking_member(&store, "a").await;
    publish_numbers(&store, 1..=3, K).await;
    let batch = next_most(&mut member, 2).await;
    for delivery in &batch {
        store.bury(&letter(&delivery.frame)).await.unwrap();
    }
    settle(&member, &batch, Settle::Bury).await;
    // The first is replayed and fails again; then the first of the letters is the second message.
    assert!(store.replay(LetterId(1)).await.unwrap());
    let batch = next(&mut member).await;
    assert_eq!(numbers(&batch), [1]);
    store.bury(&letter(&batch[0].frame)).await.unwrap();
    settle(&member, &batch, Settle::Bury).await;
    assert!(now(&mut member).is_empty());
    assert!(store.remove(LetterId(2)).await.unwrap());
    assert!(now(&mut member).is_empty(), "one letter is left");
    assert!(store.replay(LetterId(3)).await.unwrap());
    let batch = next(&mut member).await;
    settle(&member, &batch, DONE).await;
    let mut got = numbers(&batch);
    got.extend(numbers(&now(&mut member)));
    assert_eq!(got, [1, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_replay_finds_room_where_those_that_wait_for_it_have_taken_it_all() {
    let store = with_consumers(Memory::new().capacity(2).unwrap(), &["a"]).await;
    let mut member = parking_member(&store, "a").await;
    publish_numbers(&store, [1, 2], K).await;
    let batch = next_most(&mut member, 1).await;
    store.bury(&letter(&batch[0].frame)).await.unwrap();
    settle(&member, &batch, Settle::Bury).await;
    publish_numbers(&store, [3], K).await;
    assert!(store.replay(LetterId(1)).await.unwrap());
    let batch = next(&mut member).await;
    assert_eq!(numbers(&batch), [1, 2, 3], "the batch of a replay may have those behind it");
    settle(&member, &batch, DONE).await;
    publish_numbers(&store, [4, 5], K).await;
}

/// A fixed stream of pseudo-random numbers.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// Members come, go, fail, give back and settle by dice; each handles a batch as a worker does, which stops a key at its
/// first failure. Nothing is lost, nothing is handled twice, and each key's messages are handled in their order.
#[tokio::test(start_paused = true)]
async fn whatever_members_do_each_key_keeps_its_order() {
    const KEYS: [&str; 5] = ["a", "b", "c", "d", "e"];
    for seed in 0..40 {
        let (mut dice, store) = (Dice(seed), with_consumers(Memory::new(), &["a"]).await);
        let mut members = vec![member(&store, "a").await, member(&store, "a").await];
        let mut open: Vec<(usize, Vec<Delivery>)> = Vec::new();
        let (mut handled, mut published): (HashMap<u64, Vec<u64>>, u64) = (HashMap::new(), 0);
        while published < 300 || store.unsettled(&Str::from_static("a")).await.unwrap() > 0 {
            match dice.roll(8) {
                0..=2 if published < 300 => {
                    let many = dice.roll(9);
                    for number in published..published + many {
                        publish(&store, &[parcel(number, Some(KEYS[(number % 5) as usize]))]).await;
                    }
                    published += many;
                }
                3..=4 => {
                    let who = dice.roll(2) as usize;
                    let mut batch = Vec::new();
                    let most = 1 + dice.roll(12) as usize;
                    let _ = poll_once(members[who].next_batch(most, &mut batch));
                    open.push((who, batch));
                }
                5..=6 if !open.is_empty() => {
                    let (who, batch) = open.swap_remove(dice.roll(open.len() as u64) as usize);
                    let (mut stopped, mut answers) = (Vec::new(), Vec::new());
                    for delivery in &batch {
                        let key = number(delivery) % 5;
                        answers.push((
                            delivery.token,
                            match stopped.contains(&key) {
                                true => BACK,
                                false if dice.roll(4) == 0 => {
                                    stopped.push(key);
                                    again(Duration::from_millis(dice.roll(3)))
                                }
                                false => {
                                    handled.entry(key).or_default().push(number(delivery));
                                    DONE
                                }
                            },
                        ));
                    }
                    if dice.roll(2) == 0 {
                        answers.reverse();
                    }
                    members[who].settler().settle(&answers).await.unwrap();
                }
                7 if dice.roll(4) == 0 => {
                    let who = dice.roll(2) as usize;
                    open.retain(|(other, _)| *other != who);
                    members[who] = member(&store, "a").await;
                }
                _ => tokio::time::advance(Duration::from_millis(1)).await,
            }
        }
        for (key, numbers) in handled {
            let expected: Vec<u64> = (0..published).filter(|number| number % 5 == key).collect();
            assert_eq!(numbers, expected, "seed {seed}, key {key}");
        }
    }
}
