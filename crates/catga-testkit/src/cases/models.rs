//! Stores against models: random operations, the same on both, and every answer compared.
//!
//! Long because the models of all stores stand side by side, each a few steps and what they must answer.

use crate::{
    Backend,
    model::{Names, with_seeds},
    tools::open,
};
use proptest::{collection::vec, prelude::*};

pub mod model_inbox {
    use super::*;
    use catga_contract::{Entered, ErrorKind, Inbox, InboxKey};
    use std::time::Duration;

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Claim(usize),
        Finish(usize, u8),
        Leave(usize),
    }

    /// What the model knows of a key, and the claim that the test holds on it.
    struct Known<C> {
        claim: Option<C>,
        answer: Option<u8>,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (0..4_usize).prop_map(Step::Claim),
            (0..4_usize, any::<u8>()).prop_map(|(key, answer)| Step::Finish(key, answer)),
            (0..4_usize).prop_map(Step::Leave),
        ];
        vec(step, 1..20)
    }

    pub async fn an_inbox_is_its_model<B: Backend<Store: Inbox>>(backend: B) {
        let (store, names) = (open(&backend).await, Names::default());
        let (store, names) = (&store, &names);
        with_seeds(steps(), |steps| async move {
            let consumers = [names.next("a"), names.next("b")];
            let key = |key: usize| InboxKey { consumer: &consumers[key % 2], key: &[[7, 7], [7, 0]][key / 2] };
            let mut known: Vec<Known<_>> = (0..4).map(|_| Known { claim: None, answer: None }).collect();
            for step in steps {
                match step {
                    Step::Claim(at) => {
                        let free = known[at].claim.is_none() && known[at].answer.is_none();
                        match store.claim(key(at), Duration::from_secs(600)).await.unwrap() {
                            Entered::New(claim) => {
                                assert!(free, "key {at} was not free");
                                known[at].claim = Some(claim);
                            }
                            Entered::Busy { .. } => assert!(known[at].claim.is_some() && known[at].answer.is_none()),
                            Entered::Done(answer) => {
                                assert_eq!(answer, known[at].answer.as_slice());
                            }
                        }
                    }
                    Step::Finish(at, answer) => {
                        let Some(claim) = &known[at].claim else { continue };
                        let finished = store.finish(claim, &[answer]).await;
                        match known[at].answer {
                            None => {
                                finished.unwrap();
                                known[at].answer = Some(answer);
                            }
                            Some(_) => assert_eq!(finished.unwrap_err().kind(), ErrorKind::Conflict),
                        }
                    }
                    Step::Leave(at) => {
                        let Some(claim) = known[at].claim.take() else { continue };
                        store.leave(claim).await.unwrap();
                    }
                }
            }
        });
    }
}

pub mod model_unit {
    use super::*;
    use crate::tools::{LEASE, Message, number_in};
    use catga_contract::{Entry, Envelope, InboxKey, UnitOfWork, partition};
    use std::{collections::BTreeMap, time::Duration};

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Enter(usize),
        Finish(usize, u8),
        Put(usize),
        Savepoint,
        /// Ends the savepoint that many levels from the top, keeping it or not.
        Release(usize, bool),
        Commit,
        Drop,
        Sent(usize),
        Failed(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => (0..4_usize).prop_map(Step::Enter),
            1 => (0..4_usize, any::<u8>()).prop_map(|(key, answer)| Step::Finish(key, answer)),
            3 => (0..3_usize).prop_map(Step::Put),
            2 => Just(Step::Savepoint),
            2 => (0..3_usize, any::<bool>()).prop_map(|(depth, keep)| Step::Release(depth, keep)),
            2 => Just(Step::Commit),
            1 => Just(Step::Drop),
            1 => (0..4_usize).prop_map(Step::Sent),
            1 => (0..4_usize).prop_map(Step::Failed),
        ];
        vec(step, 1..24)
    }

    /// What is there, or would be with the commit.
    #[derive(Clone, Default)]
    struct State {
        marks: BTreeMap<usize, Option<u8>>,
        outbox: Vec<u64>,
    }

    /// The open savepoints, and how things stood when each was opened.
    type Before = Vec<(catga_contract::Savepoint, State)>;

    pub async fn a_unit_of_work_is_its_model<B: Backend<Store: UnitOfWork>>(backend: B) {
        let (store, names) = (open(&backend).await, Names::default());
        let (store, names) = (&store, &names);
        with_seeds(steps(), |steps| run(store, names, steps));
    }

    async fn run<S: UnitOfWork>(store: &S, names: &Names, steps: Vec<Step>) {
        clear(store).await;
        let consumers = [names.next("a"), names.next("b")];
        let key = |key: usize| InboxKey { consumer: &consumers[key % 2], key: &[[7, 7], [7, 0]][key / 2] };
        let (mut state, mut sent) = (State::default(), 0);
        let mut failed: Vec<u64> = Vec::new();
        let mut open: Option<(S::Tx, State, Before)> = None;
        for step in steps.into_iter().chain([Step::Commit]) {
            if open.is_none() && !matches!(step, Step::Sent(_) | Step::Failed(_)) {
                open = Some((store.begin().await.unwrap(), state.clone(), Vec::new()));
            }
            let closed = open.is_none();
            match (step, &mut open) {
                (Step::Enter(at), Some((tx, state, _))) => match store.enter(tx, key(at)).await.unwrap() {
                    Entry::New => assert!(state.marks.insert(at, None).is_none(), "{at} was marked"),
                    Entry::Done(answer) => {
                        let kept = state.marks.get(&at).expect("a mark");
                        assert_eq!(&answer[..], kept.as_slice());
                    }
                    Entry::Busy { .. } => panic!("nobody else is there"),
                },
                (Step::Finish(at, answer), Some((tx, state, _))) => {
                    if let Some(kept) = state.marks.get_mut(&at) {
                        store.finish(tx, key(at), &[answer]).await.unwrap();
                        *kept = Some(answer);
                    }
                }
                (Step::Put(which), Some((tx, state, _))) => {
                    // Two of one partition, one of another.
                    let message = Message::new(sent, Some(["a", "a", "17"][which]));
                    store.put(tx, &[message.outgoing()]).await.unwrap();
                    // The key stands in the number, for the model.
                    state.outbox.push(sent * 2 + u64::from(which == 2));
                    sent += 1;
                }
                (Step::Savepoint, Some((tx, state, savepoints))) => {
                    savepoints.push((store.savepoint(tx).await.unwrap(), state.clone()));
                }
                (Step::Release(depth, keep), Some((tx, state, savepoints))) => {
                    let Some(at) = savepoints.len().checked_sub(depth + 1) else { continue };
                    let (savepoint, before) = savepoints.swap_remove(at);
                    savepoints.truncate(at);
                    store.release(tx, savepoint, keep).await.unwrap();
                    if !keep {
                        *state = before;
                    }
                }
                (Step::Commit, _) => {
                    let Some((tx, after, _)) = open.take() else { continue };
                    store.commit(tx).await.unwrap();
                    state = after;
                }
                (Step::Drop, _) => drop(open.take()),
                (Step::Sent(at) | Step::Failed(at), _) if closed => {
                    let lease = store.lease(LEASE).await.unwrap();
                    let rows = store.pending(&lease, 100).await.unwrap();
                    let Some(row) = rows.get(at) else { continue };
                    let number = number_in(&Envelope::decode(&row.frame).unwrap());
                    if matches!(step, Step::Sent(_)) {
                        store.sent(&lease, &[row.number]).await.unwrap();
                        state.outbox.retain(|kept| kept / 2 != number);
                    } else {
                        store.failed(&lease, row.number, "no", Duration::from_secs(3_600)).await.unwrap();
                        failed.push(number);
                    }
                }
                _ => {}
            }
            if open.is_none() {
                compare(store, &state, &failed).await;
            }
        }
    }

    async fn compare<S: UnitOfWork>(store: &S, state: &State, failed: &[u64]) {
        let lease = store.lease(LEASE).await.unwrap();
        let rows = store.pending(&lease, 100).await.unwrap();
        let found: Vec<u64> = rows.iter().map(|row| number_in(&Envelope::decode(&row.frame).unwrap())).collect();
        let held = |kept: &u64| {
            let stuck = state.outbox.iter().filter(|other| failed.contains(&(**other / 2)) && **other % 2 == kept % 2);
            stuck.min().is_some_and(|first| first <= kept)
        };
        let expected: Vec<u64> = state.outbox.iter().filter(|kept| !held(kept)).map(|kept| kept / 2).collect();
        assert_eq!(found, expected);
        assert!(
            rows.iter()
                .all(|row| row.partition == partition(Envelope::decode(&row.frame).unwrap().key.as_ref(), row.id))
        );
        assert_eq!(store.unsent().await.unwrap(), state.outbox.len() as u64);
    }

    /// Frees the outbox of what the sequence before left.
    async fn clear<S: UnitOfWork>(store: &S) {
        let lease = store.lease(LEASE).await.unwrap();
        // Row numbers rise; those that are held back are found by asking for all up to the newest.
        let mut tx = store.begin().await.unwrap();
        store.put(&mut tx, &[Message::new(0, Some("foobar")).outgoing()]).await.unwrap();
        store.commit(tx).await.unwrap();
        let rows = store.pending(&lease, 100).await.unwrap();
        let newest = rows.iter().map(|row| row.number).max().unwrap();
        let all: Vec<u64> = (newest.saturating_sub(64)..=newest).collect();
        store.sent(&lease, &all).await.unwrap();
        assert_eq!(store.unsent().await.unwrap(), 0);
    }
}

pub mod model_queue {
    use super::*;
    use crate::tools::{number, parcel_for, publish, register, subscribe, unsettled};
    use catga_contract::{Delivery, Order, Settle, Settler, Subscription, Token, Transport};
    use std::time::Duration;

    #[derive(Clone, Copy, Debug)]
    enum Step {
        /// So many messages, beginning with that key.
        Publish(u64, u64),
        Take(usize),
        Done(usize),
        Again(usize, bool),
        Bury(usize),
        Reopen,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => (1..4_u64, 0..3_u64).prop_map(|(many, key)| Step::Publish(many, key)),
            4 => (1..5_usize).prop_map(Step::Take),
            3 => (0..6_usize).prop_map(Step::Done),
            2 => (0..6_usize, any::<bool>()).prop_map(|(at, counts)| Step::Again(at, counts)),
            1 => (0..6_usize).prop_map(Step::Bury),
            1 => Just(Step::Reopen),
        ];
        vec(step, 1..24)
    }

    const KEYS: [Option<&str>; 3] = [None, Some("a"), Some("b")];

    /// What the model knows of a message.
    struct Known {
        key: usize,
        started: u32,
        /// While it is out: its token and the batch that it came with.
        out: Option<(Token, usize)>,
        settled: bool,
    }

    struct Queue {
        all: Vec<Known>,
        by_key: bool,
        batches: usize,
    }

    impl Queue {
        /// Whether a message may come now: it waits, and where keys keep their order nothing before it does.
        fn comes(&self, at: usize) -> bool {
            let Known { key, out, settled, .. } = &self.all[at];
            let first =
                !self.by_key || *key == 0 || !self.all[..at].iter().any(|other| other.key == *key && !other.settled);
            out.is_none() && !settled && first
        }

        fn delivered(&mut self, batch: &[Delivery]) {
            self.batches += 1;
            for delivery in batch {
                let at = number(delivery) as usize;
                let earlier = |other: &Known| {
                    let together = other.out.is_some_and(|(_, batch)| batch == self.batches);
                    other.key == self.all[at].key && !other.settled && !together
                };
                let overtakes = self.by_key && self.all[at].key > 0 && self.all[..at].iter().any(earlier);
                assert!(!overtakes, "{at} overtakes an earlier message of its key");
                let known = &mut self.all[at];
                assert!(known.out.is_none() && !known.settled, "{at} came although it is out or settled");
                assert_eq!(delivery.started, known.started, "the tries of {at}");
                known.out = Some((delivery.token, self.batches));
            }
        }

        /// Those that are out, the oldest first.
        fn out(&self) -> Vec<usize> {
            (0..self.all.len()).filter(|at| self.all[*at].out.is_some()).collect()
        }
    }

    pub async fn a_queue_is_its_model<B: Backend<Store: Transport>>(backend: B) {
        let (store, names) = (open(&backend).await, Names::default());
        let (store, names) = (&store, &names);
        with_seeds(steps(), |steps| run(store, names, steps));
    }

    async fn run<T: Transport>(store: &T, names: &Names, steps: Vec<Step>) {
        let (consumer, subject) = (names.next("shop"), names.next("topic"));
        register(store, &[&consumer], &subject).await;
        let mut subscription = subscribe(store, &consumer).await;
        let by_key = store.capabilities().order == Order::Key;
        let mut queue = Queue { all: Vec::new(), by_key, batches: 0 };
        for step in steps {
            match step {
                Step::Publish(many, key) => {
                    let first = queue.all.len();
                    let key = |number: u64| ((key + number) % 3) as usize;
                    let parcel = |number| parcel_for(&subject, first as u64 + number, KEYS[key(number)]);
                    publish(store, &(0..many).map(parcel).collect::<Vec<_>>()).await;
                    let known = |number| Known { key: key(number), started: 0, out: None, settled: false };
                    queue.all.extend((0..many).map(known));
                }
                Step::Take(most) => {
                    if !(0..queue.all.len()).any(|at| queue.comes(at)) {
                        continue;
                    }
                    let mut batch = Vec::new();
                    subscription.next_batch(most, &mut batch).await.unwrap();
                    assert!((1..=most).contains(&batch.len()));
                    queue.delivered(&batch);
                }
                Step::Done(at) => settle(&subscription, &mut queue, at, Settle::Done).await,
                Step::Bury(at) => settle(&subscription, &mut queue, at, Settle::Bury).await,
                Step::Again(at, counts) => {
                    settle(&subscription, &mut queue, at, Settle::Again { pause: Duration::ZERO, counts }).await;
                }
                Step::Reopen => {
                    drop(subscription);
                    subscription = subscribe(store, &consumer).await;
                    queue.all.iter_mut().for_each(|known| known.out = None);
                }
            }
            let open = queue.all.iter().filter(|known| !known.settled).count();
            assert_eq!(unsettled(store, &consumer).await, open as u64);
        }
    }

    /// Settles the `at`th of those that are out. Whoever asks for one again asks for the later ones of its key, too.
    async fn settle(subscription: &impl Subscription, queue: &mut Queue, at: usize, answer: Settle) {
        let out = queue.out();
        let Some(&at) = out.get(at) else { return };
        let again = matches!(answer, Settle::Again { .. });
        let key = queue.all[at].key;
        let behind = out.into_iter().filter(|other| *other > at && again && key > 0 && queue.all[*other].key == key);
        let settled: Vec<usize> = [at].into_iter().chain(behind).collect();
        let answers: Vec<_> = settled.iter().filter_map(|at| Some((queue.all[*at].out?.0, answer))).collect();
        subscription.settler().settle(&answers).await.unwrap();
        for at in settled {
            let known = &mut queue.all[at];
            known.out = None;
            match answer {
                Settle::Again { counts, .. } => known.started += u32::from(counts),
                Settle::Done | Settle::Bury => known.settled = true,
            }
        }
    }
}

pub mod model_events {
    use super::*;
    use crate::cases::events::{Events, told};
    use catga_contract::{ErrorKind, EventStore, Expect};
    use tokio::sync::Mutex;

    #[derive(Clone, Copy, Debug)]
    enum Step {
        /// So many new events on that stream, expecting its version and so many more.
        Append(usize, u64, i64),
        /// As before, whatever the version.
        AppendAny(usize, u64),
        /// One of the earlier appends once more.
        Repeat(usize),
        Read(usize, u64, usize),
        ReadAll(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0..3_usize, 0..4_u64, prop_oneof![3 => Just(0_i64), 1 => -1..2_i64])
                .prop_map(|(stream, many, off)| Step::Append(stream, many, off)),
            2 => (0..3_usize, 0..4_u64).prop_map(|(stream, many)| Step::AppendAny(stream, many)),
            2 => (0..6_usize).prop_map(Step::Repeat),
            2 => (0..3_usize, 0..6_u64, 0..5_usize).prop_map(|(stream, from, most)| Step::Read(stream, from, most)),
            1 => (1..9_usize).prop_map(Step::ReadAll),
        ];
        vec(step, 1..20)
    }

    /// All events after a position, and the last one's.
    async fn read_to_the_end(store: &impl EventStore, mut after: u64, most: usize) -> (Vec<u64>, u64) {
        let mut found = Vec::new();
        loop {
            let page = store.read_all(after, most).await.unwrap();
            let Some(last) = page.last() else { return (found, after) };
            after = last.position;
            found.extend(told(&page));
        }
    }

    pub async fn an_event_store_is_its_model<B: Backend<Store: EventStore>>(backend: B) {
        let (store, names, end) = (open(&backend).await, Names::default(), Mutex::new(0));
        let (store, names, end) = (&store, &names, &end);
        with_seeds(steps(), |steps| async move {
            let after = *end.lock().await;
            let after = read_to_the_end(store, after, 1_000).await.1;
            let streams = [names.next("a"), names.next("b"), names.next("c")];
            let (mut model, mut all): (Vec<Vec<u64>>, _) = (vec![Vec::new(); 3], Vec::new());
            let mut appended: Vec<(usize, Events, u64)> = Vec::new();
            let mut next = 0;
            for step in steps.into_iter().chain([Step::ReadAll(1_000)]) {
                match step {
                    Step::Append(at, many, _) | Step::AppendAny(at, many) => {
                        let version = model[at].len() as u64;
                        let expect = match step {
                            Step::Append(_, _, 0) if version == 0 => Expect::Empty,
                            Step::Append(_, _, off) => Expect::Version(version.saturating_add_signed(off)),
                            _ => Expect::Any,
                        };
                        let events = Events::new(next..next + many);
                        let fits = matches!(expect, Expect::Any | Expect::Empty) || expect == Expect::Version(version);
                        let answer = store.append(&streams[at], expect, &events.all()).await;
                        if many == 0 {
                            // What was expected of an append of nothing is not specified.
                            assert!(answer.is_err() || answer.is_ok_and(|answer| answer == version));
                        } else if fits {
                            assert_eq!(answer.unwrap(), version + many);
                            model[at].extend(next..next + many);
                            all.extend(next..next + many);
                            appended.push((at, events, version + many));
                            next += many;
                        } else {
                            assert_eq!(answer.unwrap_err().kind(), ErrorKind::Conflict);
                        }
                    }
                    Step::Repeat(which) => {
                        let Some((at, events, answer)) = appended.get(which) else { continue };
                        assert_eq!(store.append(&streams[*at], Expect::Empty, &events.all()).await.unwrap(), *answer);
                    }
                    Step::Read(at, from, most) => {
                        let found = store.read(&streams[at], from, most).await.unwrap();
                        let skipped = from.saturating_sub(1) as usize;
                        let expected: Vec<u64> = model[at].iter().skip(skipped).take(most).copied().collect();
                        assert_eq!(told(&found), expected);
                        assert!((from.max(1)..).zip(&found).all(|(version, event)| event.version == version));
                    }
                    Step::ReadAll(most) => {
                        let (found, last) = read_to_the_end(store, after, most).await;
                        assert_eq!(found, all);
                        *end.lock().await = last;
                    }
                }
            }
        });
    }
}

pub mod model_checkpoints {
    use super::*;
    use catga_contract::{Checkpoints, ErrorKind, Fence};

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Load(usize),
        /// By the reader with that name, under the fence that it got as the so manieth last.
        Save(usize, usize, u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (0..2_usize).prop_map(Step::Load),
            (0..2_usize, 0..3_usize, 0..9_u64).prop_map(|(name, fence, position)| Step::Save(name, fence, position)),
        ];
        vec(step, 1..16)
    }

    pub async fn checkpoints_are_their_model<B: Backend<Store: Checkpoints>>(backend: B) {
        let (store, names) = (open(&backend).await, Names::default());
        let (store, names) = (&store, &names);
        with_seeds(steps(), |steps| async move {
            let readers = [names.next("a"), names.next("b")];
            let mut model: [(u64, Vec<Fence>); 2] = Default::default();
            for step in steps {
                match step {
                    Step::Load(at) => {
                        let (position, fence) = store.load(&readers[at]).await.unwrap();
                        assert_eq!(position, model[at].0);
                        assert!(model[at].1.last().is_none_or(|last| fence > *last), "fences rise");
                        model[at].1.push(fence);
                    }
                    Step::Save(at, which, position) => {
                        let fences = &model[at].1;
                        let Some(fence) = fences.iter().rev().nth(which) else { continue };
                        let saved = store.save(&readers[at], position, *fence).await;
                        if which == 0 {
                            // A reader may be kept from going back; then it is told, and its place stays.
                            match saved {
                                Ok(()) => model[at].0 = position,
                                Err(error) => assert!(position < model[at].0, "{error}"),
                            }
                        } else {
                            assert_eq!(saved.unwrap_err().kind(), ErrorKind::Conflict);
                        }
                    }
                }
            }
        });
    }
}

pub mod model_letters {
    use super::*;
    use crate::tools::{Message, letter, number_in, register, unsettled};
    use catga_contract::{DeadLetters, ErrorKind, LetterId, Transport};

    #[derive(Clone, Copy, Debug)]
    enum Step {
        /// Of a consumer that is there, or of one that is gone.
        Bury(bool),
        List(usize, usize),
        Remove(usize),
        Replay(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => any::<bool>().prop_map(Step::Bury),
            2 => (0..4_usize, 0..4_usize).prop_map(|(after, most)| Step::List(after, most)),
            1 => (0..6_usize).prop_map(Step::Remove),
            2 => (0..6_usize).prop_map(Step::Replay),
        ];
        vec(step, 1..20)
    }

    pub async fn dead_letters_are_their_model<B: Backend<Store: DeadLetters + Transport>>(backend: B) {
        let (store, names) = (open(&backend).await, Names::default());
        let (store, names) = (&store, &names);
        with_seeds(steps(), |steps| async move {
            let (there, gone) = (names.next("there"), names.next("gone"));
            let LetterId(start) = DeadLetters::bury(store, &letter(&gone, b"")).await.unwrap();
            store.remove(LetterId(start)).await.unwrap();
            register(store, &[&there], &names.next("topic")).await;
            // Those that were ever buried: whose, and whether they are still there.
            let mut model: Vec<(bool, bool)> = Vec::new();
            let mut queued = 0;
            let id = |at: usize| LetterId(start + at as u64 + 1);
            for step in steps {
                match step {
                    Step::Bury(known) => {
                        let frame = Message::new(model.len() as u64, None).frame;
                        let kept = letter(if known { &there } else { &gone }, &frame);
                        assert_eq!(DeadLetters::bury(store, &kept).await.unwrap(), id(model.len()));
                        model.push((known, true));
                    }
                    Step::List(after, most) => {
                        let found = store.list(LetterId(start + after as u64), most).await.unwrap();
                        let expected = (after..model.len()).filter(|at| model[*at].1).take(most);
                        let found: Vec<_> =
                            found.iter().map(|kept| (kept.id, number_in(&kept.open().unwrap()))).collect();
                        assert_eq!(found, expected.map(|at| (id(at), at as u64)).collect::<Vec<_>>());
                    }
                    Step::Remove(at) => {
                        let was = model.get(at).is_some_and(|kept| kept.1);
                        assert_eq!(store.remove(id(at)).await.unwrap(), was);
                        model.iter_mut().skip(at).take(1).for_each(|kept| kept.1 = false);
                    }
                    Step::Replay(at) => {
                        let replayed = store.replay(id(at)).await;
                        match model.get_mut(at) {
                            Some((true, kept @ true)) => {
                                assert!(replayed.unwrap());
                                (*kept, queued) = (false, queued + 1);
                            }
                            Some((false, true)) => assert_eq!(replayed.unwrap_err().kind(), ErrorKind::NotFound),
                            _ => assert!(!replayed.unwrap()),
                        }
                        assert_eq!(unsettled(store, &there).await, queued);
                    }
                }
            }
        });
    }
}
