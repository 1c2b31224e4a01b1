//! `bench send`: what finding and calling a handler costs beside calling the same async function.

use crate::{
    Peer, bare,
    harness::{Bound, Candidate, Plan, Report, measure},
    shop::{Given, Place, PlaceBarely, PlacePlainly, Placed, Shop, app, app_through_three, through_three},
};
use catga::{MessageId, Result, send_to};
use std::{cell::RefCell, hint::black_box};

const BY_REFERENCE: &str = "direct call, state lent";
const BY_REFERENCE_APART: &str = "direct call, state lent, never inlined";
const DIRECT: &str = "direct call, state and context cloned";
const DIRECT_APART: &str = "direct call, state and context cloned, never inlined";
const DIRECT_FRESH: &str = "direct call, state cloned, context made";
const PLAIN: &str = "direct call, state cloned, no context";
const ID: &str = "a fresh id alone";
const STATIC: &str = "static send";
const STATIC_THREE: &str = "static send, 3 behaviors";
const DYNAMIC: &str = "App::send, state and context";
const DYNAMIC_THREE: &str = "App::send, state and context, 3 behaviors";
const DYNAMIC_BARE: &str = "App::send, message only";
const DYNAMIC_PLAIN: &str = "App::send, state only";
const DYNAMIC_PLAIN_THREE: &str = "App::send, state only, 3 behaviors";
const CALL_THREE: &str = "three direct calls with clones";
const NOTIFY: &str = "App::notify to three";
const PEER: &str = "catga-core 0.2 send";
const PEER_THREE: &str = "catga-core 0.2 send, 3 behaviors";

/// What must hold, then what is only a goal yet. `catga-core`'s handler takes the message alone, so ours that takes the
/// message alone is held against it; the one that takes the state, too, does more.
pub const BOUNDS: &[Bound] = &[
    Bound::above(STATIC_THREE, 15.0, STATIC),
    Bound::times(DYNAMIC_BARE, 0.25, PEER),
    Bound::times(DYNAMIC_PLAIN, 0.25, PEER),
    Bound::times(DYNAMIC_PLAIN_THREE, 0.25, PEER_THREE),
    Bound::times(DYNAMIC, 0.25, PEER).as_goal(),
    Bound::times(DYNAMIC_THREE, 0.25, PEER_THREE).as_goal(),
    Bound::times(STATIC, 1.1, BY_REFERENCE).as_goal(),
    Bound::times(STATIC, 1.1, BY_REFERENCE_APART).as_goal(),
    Bound::times(DYNAMIC, 1.3, DIRECT).as_goal(),
    Bound::times(DYNAMIC, 1.3, DIRECT_APART).as_goal(),
    Bound::times(DYNAMIC, 1.3, DIRECT_FRESH).as_goal(),
    Bound::times(DYNAMIC_PLAIN, 1.3, PLAIN).as_goal(),
];

/// Measures all of them; with `peers`, those of others, too.
///
/// # Errors
///
/// Where a peer cannot be built or fails.
pub fn run(plan: Plan, peers: bool) -> Result<Report> {
    let (given, shop, three) = (Given::new(), Shop::default(), through_three(Shop::default()));
    let (app, app_three) = (app()?, app_through_three()?);
    let peer = peers.then(|| Peer::start("catga-core-send")).transpose()?.map(RefCell::new);
    let order = || black_box(Place::SOME);
    let mut candidates = vec![
        Candidate::awaited(BY_REFERENCE, || bare::by_reference(order(), &shop.repo)),
        Candidate::awaited(BY_REFERENCE_APART, || bare::by_reference_apart(order(), &shop.repo)),
        Candidate::awaited(STATIC, || send_to(&shop, order())),
        Candidate::awaited(STATIC_THREE, || send_to(&three, order())),
        Candidate::awaited(PLAIN, || bare::plain(order(), &given)),
        Candidate::awaited(DYNAMIC_BARE, || app.send(PlaceBarely(order()))),
        Candidate::awaited(DYNAMIC_PLAIN, || app.send(PlacePlainly(order()))),
        Candidate::awaited(DYNAMIC_PLAIN_THREE, || app_three.send(PlacePlainly(order()))),
        Candidate::awaited(DIRECT, || bare::direct(order(), &given)),
        Candidate::awaited(DIRECT_APART, || bare::direct_apart(order(), &given)),
        Candidate::operation(ID, MessageId::new),
        Candidate::awaited(DIRECT_FRESH, || bare::direct_with_fresh_context(order(), &given)),
        Candidate::awaited(DYNAMIC, || app.send(order())),
        Candidate::awaited(DYNAMIC_THREE, || app_three.send(order())),
        Candidate::awaited(CALL_THREE, || bare::three(Placed(order()), &given)),
        Candidate::awaited(NOTIFY, || app.notify(Placed(order()))),
    ];
    if let Some(peer) = &peer {
        candidates.push(Candidate::new(PEER, |iterations| peer.borrow_mut().run("send", iterations)));
        candidates.push(Candidate::new(PEER_THREE, |iterations| peer.borrow_mut().run("three", iterations)));
    }
    measure(plan, candidates, BOUNDS)
}
