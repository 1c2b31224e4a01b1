//! `bench send`: what finding and calling a handler costs beside calling the same async function.

use crate::{
    Peer, bare,
    harness::{Bound, Candidate, Plan, Report, measure},
    ready,
    shop::{Given, Place, PlacePlainly, Placed, Shop, app, app_through_three, through_three},
};
use catga::{MessageId, Result, send_to};
use std::{cell::RefCell, hint::black_box};

const BY_REFERENCE: &str = "direct call, state lent";
const DIRECT: &str = "direct call, state and context cloned";
const DIRECT_FRESH: &str = "direct call, state cloned, context made";
const PLAIN: &str = "direct call, state cloned, no context";
const ID: &str = "a fresh id alone";
const STATIC: &str = "static send";
const STATIC_THREE: &str = "static send, 3 behaviors";
const DYNAMIC: &str = "App::send, state and context";
const DYNAMIC_THREE: &str = "App::send, state and context, 3 behaviors";
const DYNAMIC_PLAIN: &str = "App::send, state only";
const DYNAMIC_PLAIN_THREE: &str = "App::send, state only, 3 behaviors";
const CALL_THREE: &str = "three direct calls with clones";
const NOTIFY: &str = "App::notify to three";
const PEER: &str = "catga-core 0.2 send";
const PEER_THREE: &str = "catga-core 0.2 send, 3 behaviors";

/// What must hold. `catga-core`'s handler takes the message alone; ours that do the same as theirs take the state, too.
pub const BOUNDS: &[Bound] = &[
    Bound::times(STATIC, 1.1, BY_REFERENCE),
    Bound::above(STATIC_THREE, 15.0, STATIC),
    Bound::times(DYNAMIC, 1.3, DIRECT),
    Bound::times(DYNAMIC, 1.3, DIRECT_FRESH),
    Bound::times(DYNAMIC_PLAIN, 1.3, PLAIN),
    Bound::times(DYNAMIC, 0.25, PEER),
    Bound::times(DYNAMIC_THREE, 0.25, PEER_THREE),
    Bound::times(DYNAMIC_PLAIN, 0.25, PEER),
    Bound::times(DYNAMIC_PLAIN_THREE, 0.25, PEER_THREE),
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
        Candidate::operation(BY_REFERENCE, || ready(bare::by_reference(order(), &shop.repo))),
        Candidate::operation(STATIC, || ready(send_to(&shop, order()))),
        Candidate::operation(STATIC_THREE, || ready(send_to(&three, order()))),
        Candidate::operation(PLAIN, || ready(bare::plain(order(), &given))),
        Candidate::operation(DYNAMIC_PLAIN, || ready(app.send(PlacePlainly(order())))),
        Candidate::operation(DYNAMIC_PLAIN_THREE, || ready(app_three.send(PlacePlainly(order())))),
        Candidate::operation(DIRECT, || ready(bare::direct(order(), &given))),
        Candidate::operation(ID, MessageId::new),
        Candidate::operation(DIRECT_FRESH, || ready(bare::direct_with_fresh_context(order(), &given))),
        Candidate::operation(DYNAMIC, || ready(app.send(order()))),
        Candidate::operation(DYNAMIC_THREE, || ready(app_three.send(order()))),
        Candidate::operation(CALL_THREE, || ready(bare::three(Placed(order()), &given))),
        Candidate::operation(NOTIFY, || ready(app.notify(Placed(order())))),
    ];
    if let Some(peer) = &peer {
        candidates.push(Candidate::new(PEER, |iterations| peer.borrow_mut().run("send", iterations)));
        candidates.push(Candidate::new(PEER_THREE, |iterations| peer.borrow_mut().run("three", iterations)));
    }
    measure(plan, candidates, BOUNDS)
}
