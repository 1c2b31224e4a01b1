//! In which order messages come.

pub mod order_stream {
    use crate::{
        Backend,
        tools::{MAIL, numbers, parcels, publish, registered, subscribe, take_done},
    };
    use catga_contract::Transport;

    pub async fn messages_come_as_they_were_published<B: Backend<Store: Transport>>(backend: B) {
        let store = registered(&backend, &[MAIL]).await;
        publish(&store, &parcels(0..150)).await;
        for number in 150..300 {
            publish(&store, &parcels([number])).await;
        }
        let mut subscription = subscribe(&store, MAIL).await;
        let mut came = Vec::new();
        while came.len() < 300 {
            let wanted = (came.len() % 13 + 1).min(300 - came.len());
            came.extend(numbers(&take_done(&mut subscription, wanted).await));
        }
        assert_eq!(came, (0..300).collect::<Vec<_>>());
    }
}

pub mod order_key {
    use crate::{
        Backend, Claim, Demands, End, History, Op,
        tools::{
            MAIL, PLACED, again, number, one, parcel_for, publish, registered, settle, subscribe, take_done, unsettled,
        },
    };
    use catga_contract::{MessageId, Parcel, Settle, Subscription, Transport};
    use std::{collections::HashSet, slice::from_ref, time::Duration};

    fn of(key: &str, number: u64) -> Parcel {
        parcel_for(PLACED, number, Some(key))
    }

    pub async fn a_key_keeps_its_order_whatever_fails<B: Backend<Store: Transport>>(backend: B) {
        const KEYS: u64 = 16;
        const EACH: u64 = 15;
        let store = registered(&backend, &[MAIL]).await;
        let history = History::new();
        let key = |number: u64| format!("key-{}", number % KEYS);
        for number in 0..KEYS * EACH {
            let (parcel, start) = (of(&key(number), number), history.start());
            publish(&store, from_ref(&parcel)).await;
            history.end(start, Op::Publish, Claim::of(parcel.id).at(number % KEYS, number), End::Ok);
        }
        let mut subscription = subscribe(&store, MAIL).await;
        let (mut done, mut tries) = (0, 0_u64);
        while done < KEYS * EACH {
            // Now and then another one takes over, with everything unsettled.
            if tries % 41 == 40 {
                drop(subscription);
                subscription = subscribe(&store, MAIL).await;
            }
            let mut batch = Vec::new();
            subscription.next_batch(9, &mut batch).await.unwrap();
            // Whoever asks for one again asks for the later ones of its key, too.
            let mut failed = HashSet::new();
            let mut answers = Vec::new();
            for delivery in &batch {
                tries += 1;
                let (number, id) = (number(delivery), delivery.message.as_ref().unwrap().id);
                let fails = tries % 5 == 3 || failed.contains(&(number % KEYS));
                if fails {
                    failed.insert(number % KEYS);
                    answers.push((delivery.token, again(Duration::from_millis(tries % 3))));
                } else {
                    let claim = Claim::of(id).by(MAIL).at(number % KEYS, number);
                    history.end(history.start(), Op::Effect, claim, End::Ok);
                    answers.push((delivery.token, Settle::Done));
                    done += 1;
                }
            }
            catga_contract::Settler::settle(&subscription.settler(), &answers).await.unwrap();
        }
        let mut demands = Demands::new(&[MAIL]);
        (demands.once, demands.order) = (true, true);
        history.verdict(&demands).unwrap();
        assert_eq!(unsettled(&store, MAIL).await, 0);
    }

    pub async fn a_later_message_of_a_key_waits_for_the_first<B: Backend<Store: Transport>>(backend: B) {
        let store = registered(&backend, &[MAIL]).await;
        publish(&store, &[of("a", 0), of("a", 1), of("b", 2)]).await;
        let mut subscription = subscribe(&store, MAIL).await;
        let first = one(&mut subscription).await;
        assert_eq!(number(&first), 0);
        let other = one(&mut subscription).await;
        assert_eq!(number(&other), 2, "the other key's, before the second of the first key");
        settle(&subscription, &[first], Settle::Done).await;
        assert_eq!(number(&one(&mut subscription).await), 1);
    }

    pub async fn a_head_that_waits_keeps_back_its_key_alone<B: Backend<Store: Transport>>(backend: B) {
        const PAUSE: Duration = Duration::from_millis(150);
        let store = registered(&backend, &[MAIL]).await;
        publish(&store, &[of("a", 0), of("a", 1)]).await;
        let mut subscription = subscribe(&store, MAIL).await;
        let head = one(&mut subscription).await;
        settle(&subscription, &[head], again(PAUSE)).await;
        publish(&store, &[of("a", 2), of("b", 3), of("b", 4), of("c", 5)]).await;
        let mut came = Vec::new();
        for _ in 0..6 {
            came.push(number(&take_done(&mut subscription, 1).await[0]));
        }
        assert_eq!(came, [3, 4, 5, 0, 1, 2]);
    }

    pub async fn a_buried_head_lets_its_key_pass<B: Backend<Store: Transport>>(backend: B) {
        let store = registered(&backend, &[MAIL]).await;
        publish(&store, &[of("a", 0), of("a", 1), of("a", 2)]).await;
        let mut subscription = subscribe(&store, MAIL).await;
        let head = one(&mut subscription).await;
        settle(&subscription, &[head], Settle::Bury).await;
        let came: Vec<u64> = take_done(&mut subscription, 2).await.iter().map(number).collect();
        assert_eq!(came, [1, 2]);
        assert_eq!(unsettled(&store, MAIL).await, 0);
    }

    pub async fn what_a_dropped_subscription_had_comes_first<B: Backend<Store: Transport>>(backend: B) {
        let store = registered(&backend, &[MAIL]).await;
        publish(&store, &(0..8).map(|number| of("a", number)).collect::<Vec<_>>()).await;
        for expected in 0..8 {
            let mut subscription = subscribe(&store, MAIL).await;
            assert_eq!(number(&one(&mut subscription).await), expected, "not settled yet");
            drop(subscription);
            let mut subscription = subscribe(&store, MAIL).await;
            assert_eq!(number(&take_done(&mut subscription, 1).await[0]), expected);
        }
    }

    /// So that unrelated messages never wait for each other.
    pub async fn messages_without_a_key_wait_for_nobody<B: Backend<Store: Transport>>(backend: B) {
        let store = registered(&backend, &[MAIL]).await;
        let keyless = |number| parcel_for(PLACED, number, None);
        publish(&store, &[keyless(0), keyless(1), of("a", 2), keyless(3)]).await;
        let mut subscription = subscribe(&store, MAIL).await;
        let mut ids: HashSet<MessageId> = HashSet::new();
        for _ in 0..4 {
            ids.insert(one(&mut subscription).await.message.unwrap().id);
        }
        assert_eq!(ids.len(), 4, "all are out at once");
    }
}

pub mod no_order_key {
    use crate::{
        Backend,
        tools::{MAIL, refused, registered, subscribe},
    };
    use catga_contract::{ErrorKind, SubscribeOptions, Transport};

    pub async fn parking_is_refused_as_unsupported<B: Backend<Store: Transport>>(backend: B) {
        let store = registered(&backend, &[MAIL]).await;
        let mut options = SubscribeOptions::new(MAIL.into());
        options.park = true;
        let error = refused(store.subscribe(options).await, "parking without an order by key");
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        drop(subscribe(&store, MAIL).await);
    }
}
