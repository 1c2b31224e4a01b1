//! A message allocates nothing of its own on its way.

use super::*;
use catga_buf::CountingAlloc;

#[global_allocator]
static ALLOC: CountingAlloc = CountingAlloc::system();

/// Publishes, receives and settles a round of messages, by polling alone.
fn round(store: &Memory, member: &mut MemorySubscription, parcels: &[Parcel], room: &mut Room) {
    for parcel in parcels {
        poll_once(store.publish(std::slice::from_ref(parcel), &mut room.outcomes)).unwrap().unwrap();
    }
    room.outcomes.clear();
    let settler = member.settler();
    while poll_once(member.next_batch(64, &mut room.deliveries)).is_some() {
        room.answers.extend(room.deliveries.drain(..).map(|delivery| (delivery.token, DONE)));
        poll_once(settler.settle(&room.answers)).unwrap().unwrap();
        room.answers.clear();
    }
}

#[derive(Default)]
struct Room {
    outcomes: Vec<Outcome>,
    deliveries: Vec<Delivery>,
    answers: Vec<(catga::Token, Settle)>,
}

#[test]
fn a_message_that_is_published_handled_and_settled_allocates_nothing() {
    let store = poll_once(with_consumers(Memory::new(), &["a"])).unwrap();
    let mut member = poll_once(member(&store, "a")).unwrap();
    let parcels: Vec<_> =
        (0..200).map(|number| parcel(number, [None, Some("k"), Some("l")][number as usize % 3])).collect();
    let mut room = Room::default();
    // What a frame allocates to be shared for the first time is its own.
    for _ in 0..3 {
        round(&store, &mut member, &parcels, &mut room);
    }
    let counted = CountingAlloc::count(|| {
        for _ in 0..10 {
            round(&store, &mut member, &parcels, &mut room);
        }
    });
    assert_eq!(counted.count, 0, "{counted:?}");
}
