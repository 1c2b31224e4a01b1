//! What capabilities add, and how those are refused that are denied.

pub mod dedupe {
    use crate::{
        Backend,
        tools::{MAIL, outcomes, parcel, publish, registered, subscribe, take_done, unsettled},
    };
    use catga_contract::{Outcome, Transport};

    pub async fn one_id_is_kept_once<B: Backend<Store: Transport>>(backend: B) {
        let store = registered(&backend, &[MAIL]).await;
        let twice = parcel(0);
        publish(&store, &[twice.clone(), parcel(1)]).await;
        let told = outcomes(&store, &[twice]).await;
        assert!(matches!(told[0], Outcome::Duplicate), "{told:?}");
        assert_eq!(unsettled(&store, MAIL).await, 2);
        let mut subscription = subscribe(&store, MAIL).await;
        take_done(&mut subscription, 2).await;
        assert_eq!(unsettled(&store, MAIL).await, 0);
    }
}

pub mod no_dedupe {
    use crate::{
        Backend,
        tools::{MAIL, numbers, parcel, publish, registered, subscribe, take_done, unsettled},
    };
    use catga_contract::Transport;

    pub async fn one_id_published_twice_comes_twice_and_is_called_stored<B: Backend<Store: Transport>>(backend: B) {
        let store = registered(&backend, &[MAIL]).await;
        let twice = parcel(0);
        publish(&store, std::slice::from_ref(&twice)).await;
        publish(&store, &[twice]).await;
        let mut subscription = subscribe(&store, MAIL).await;
        assert_eq!(numbers(&take_done(&mut subscription, 2).await), [0, 0]);
        assert_eq!(unsettled(&store, MAIL).await, 0);
    }
}

pub mod atomic_batch {
    use crate::{
        Backend,
        tools::{MAIL, number, parcels, poll, publish, registered, subscribe, until_marker},
    };
    use catga_contract::Transport;
    use std::pin::pin;

    pub async fn a_dropped_publish_keeps_its_batch_whole_or_not_at_all<B: Backend<Store: Transport>>(backend: B) {
        const SIZE: u64 = 20;
        let store = registered(&backend, &[MAIL]).await;
        for round in 0..40_u64 {
            let (batch, mut outcomes) = (parcels(round * SIZE..(round + 1) * SIZE), Vec::new());
            let mut publishing = pin!(store.publish(&batch, &mut outcomes));
            for _ in 0..=round % 8 {
                if poll(publishing.as_mut()).is_some() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        // What a dropped one still does is done when a later one is.
        publish(&store, &parcels(10_000..10_000 + SIZE)).await;
        let mut subscription = subscribe(&store, MAIL).await;
        let came: Vec<u64> = until_marker(&store, &mut subscription).await.iter().map(number).collect();
        assert!(came.len() >= SIZE as usize, "the last batch is there");
        for batch in came.chunks(SIZE as usize) {
            let whole: Vec<u64> = (batch[0]..batch[0] + SIZE).collect();
            assert!(batch[0] % SIZE == 0 && batch == whole, "a batch was torn: {batch:?}");
        }
    }
}

pub mod delay {
    use crate::{
        Backend,
        tools::{
            MAIL, number, numbers, one, parcel, parcels, publish, registered, settle, subscribe, take, take_done,
            unsettled,
        },
    };
    use catga_contract::{Parcel, Settle, Transport};
    use std::time::{Duration, SystemTime};

    fn due(number: u64, at: SystemTime) -> Parcel {
        let mut parcel = parcel(number);
        parcel.due = Some(at);
        parcel
    }

    pub async fn a_message_does_not_come_before_it_is_due<B: Backend<Store: Transport>>(backend: B) {
        let store = registered(&backend, &[MAIL]).await;
        let mut subscription = subscribe(&store, MAIL).await;
        let at = SystemTime::now() + Duration::from_millis(120);
        publish(&store, &[due(0, at)]).await;
        assert_eq!(unsettled(&store, MAIL).await, 1);
        let came = one(&mut subscription).await;
        assert!(SystemTime::now() + Duration::from_millis(1) >= at, "it came too early");
        settle(&subscription, &[came], Settle::Done).await;
        assert_eq!(unsettled(&store, MAIL).await, 0);
    }

    pub async fn a_time_that_has_passed_is_now<B: Backend<Store: Transport>>(backend: B) {
        let store = registered(&backend, &[MAIL]).await;
        publish(&store, &[due(0, SystemTime::UNIX_EPOCH), due(1, SystemTime::now())]).await;
        let mut subscription = subscribe(&store, MAIL).await;
        assert_eq!(take_done(&mut subscription, 2).await.len(), 2);
    }

    pub async fn what_is_due_later_holds_nobody_up<B: Backend<Store: Transport>>(backend: B) {
        let store = registered(&backend, &[MAIL]).await;
        let hour = SystemTime::now() + Duration::from_secs(3_600);
        publish(&store, &[due(99, hour)]).await;
        publish(&store, &parcels(0..5)).await;
        let mut subscription = subscribe(&store, MAIL).await;
        assert_eq!(numbers(&take_done(&mut subscription, 5).await), [0, 1, 2, 3, 4]);
        assert_eq!(unsettled(&store, MAIL).await, 1);
    }

    pub async fn messages_come_in_the_order_of_their_times<B: Backend<Store: Transport>>(backend: B) {
        let store = registered(&backend, &[MAIL]).await;
        let now = SystemTime::now();
        let after = |number: u64, millis| due(number, now + Duration::from_millis(millis));
        publish(&store, &[after(0, 180), after(1, 60), after(2, 120)]).await;
        let mut subscription = subscribe(&store, MAIL).await;
        let mut came = Vec::new();
        for _ in 0..3 {
            came.push(number(&take(&mut subscription, 1).await[0]));
        }
        assert_eq!(came, [1, 2, 0]);
    }

    pub async fn a_dropped_subscription_forgets_no_time<B: Backend<Store: Transport>>(backend: B) {
        let store = registered(&backend, &[MAIL]).await;
        let at = SystemTime::now() + Duration::from_millis(100);
        publish(&store, &[due(0, at)]).await;
        drop(subscribe(&store, MAIL).await);
        let mut subscription = subscribe(&store, MAIL).await;
        assert_eq!(number(&take_done(&mut subscription, 1).await[0]), 0);
        assert!(SystemTime::now() + Duration::from_millis(1) >= at, "it came too early");
    }
}

pub mod no_delay {
    use crate::{
        Backend,
        tools::{MAIL, numbers, outcomes, parcel, registered, subscribe, take_done, unsettled},
    };
    use catga_contract::{ErrorKind, Outcome, Transport};
    use std::time::{Duration, SystemTime};

    pub async fn a_due_message_is_refused_as_unsupported<B: Backend<Store: Transport>>(backend: B) {
        let store = registered(&backend, &[MAIL]).await;
        let mut due = parcel(0);
        due.due = Some(SystemTime::now() + Duration::from_secs(3_600));
        let told = outcomes(&store, &[due, parcel(1)]).await;
        let Outcome::Refused(error) = &told[0] else { panic!("a due parcel is refused: {told:?}") };
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert!(matches!(told[1], Outcome::Stored), "the other one passes: {told:?}");
        let mut subscription = subscribe(&store, MAIL).await;
        assert_eq!(numbers(&take_done(&mut subscription, 1).await), [1]);
        assert_eq!(unsettled(&store, MAIL).await, 0);
    }
}

pub mod groups {
    use crate::{
        Backend,
        tools::{
            MAIL, each_once, numbers, parcels, publish, registered, settle, subscribe, take, take_done, unsettled,
        },
    };
    use catga_contract::{Settle, Subscription, Transport};
    use std::sync::Arc;
    use tokio::sync::Mutex;

    pub async fn members_share_the_work<B: Backend<Store: Transport>>(backend: B) {
        const WANTED: u64 = 300;
        let store = registered(&backend, &[MAIL]).await;
        let came = Arc::new(Mutex::new(Vec::new()));
        let mut members = Vec::new();
        for _ in 0..4 {
            let (mut subscription, came) = (subscribe(&store, MAIL).await, came.clone());
            members.push(tokio::spawn(async move {
                loop {
                    let mut batch = Vec::new();
                    subscription.next_batch(3, &mut batch).await.unwrap();
                    settle(&subscription, &batch, Settle::Done).await;
                    came.lock().await.extend(numbers(&batch));
                }
            }));
        }
        publish(&store, &parcels(0..WANTED)).await;
        crate::tools::until(|| {
            let came = came.clone();
            async move { came.lock().await.len() as u64 >= WANTED }
        })
        .await;
        members.iter().for_each(tokio::task::JoinHandle::abort);
        each_once(came.lock().await.clone(), WANTED);
        assert_eq!(unsettled(&store, MAIL).await, 0);
    }

    pub async fn what_a_member_leaves_goes_to_the_others<B: Backend<Store: Transport>>(backend: B) {
        let store = registered(&backend, &[MAIL]).await;
        let (mut leaves, mut stays) = (subscribe(&store, MAIL).await, subscribe(&store, MAIL).await);
        publish(&store, &parcels(0..10)).await;
        take(&mut leaves, 1).await;
        drop(leaves);
        each_once(numbers(&take_done(&mut stays, 10).await), 10);
        assert_eq!(unsettled(&store, MAIL).await, 0);
    }
}

pub mod no_groups {
    use crate::{
        Backend,
        tools::{MAIL, refused, registered, subscribe},
    };
    use catga_contract::{ErrorKind, SubscribeOptions, Transport};

    pub async fn a_second_subscription_is_busy_until_the_first_ends<B: Backend<Store: Transport>>(backend: B) {
        let store = registered(&backend, &[MAIL, "shop.other"]).await;
        let first = subscribe(&store, MAIL).await;
        let error = refused(store.subscribe(SubscribeOptions::new(MAIL.into())).await, "a second member");
        assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
        drop(subscribe(&store, "shop.other").await);
        drop(first);
        drop(subscribe(&store, MAIL).await);
    }
}

pub mod fenced_settle {
    use crate::{
        Backend,
        tools::{MAIL, again, one, parcel, publish, registered, subscribe, take_done, unsettled},
    };
    use catga_contract::{Settle, Settler, Subscription, Transport};
    use std::time::Duration;

    pub async fn a_stale_answer_is_refused_and_changes_nothing<B: Backend<Store: Transport>>(backend: B) {
        let store = registered(&backend, &[MAIL]).await;
        publish(&store, &[parcel(0)]).await;
        let mut first = subscribe(&store, MAIL).await;
        let (settler, old) = (first.settler(), one(&mut first).await);
        drop(first);
        let mut second = subscribe(&store, MAIL).await;
        let new = one(&mut second).await;
        for stale in [again(Duration::ZERO), Settle::Bury] {
            assert!(settler.settle(&[(old.token, stale)]).await.is_err(), "{stale:?} is stale");
        }
        assert_eq!(unsettled(&store, MAIL).await, 1);
        second.settler().settle(&[(new.token, Settle::Done)]).await.unwrap();
        publish(&store, &[parcel(1)]).await;
        take_done(&mut second, 1).await;
        assert_eq!(unsettled(&store, MAIL).await, 0);
    }
}

pub mod no_fenced_settle {
    use crate::{
        Backend,
        tools::{MAIL, again, number, one, parcel, publish, registered, subscribe, take_done, unsettled},
    };
    use catga_contract::{Settler, Subscription, Transport};
    use std::time::Duration;

    pub async fn a_stale_answer_loses_nothing<B: Backend<Store: Transport>>(backend: B) {
        let store = registered(&backend, &[MAIL]).await;
        publish(&store, &[parcel(0)]).await;
        let mut first = subscribe(&store, MAIL).await;
        let (settler, old) = (first.settler(), one(&mut first).await);
        drop(first);
        let mut second = subscribe(&store, MAIL).await;
        let new = one(&mut second).await;
        // It may be refused or not, and it may bring the message once more.
        drop(settler.settle(&[(old.token, again(Duration::ZERO))]).await);
        drop(new);
        drop(second);
        let mut third = subscribe(&store, MAIL).await;
        assert_eq!(number(&take_done(&mut third, 1).await[0]), 0);
        assert_eq!(unsettled(&store, MAIL).await, 0);
    }
}
