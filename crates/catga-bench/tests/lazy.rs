//! A call whose handler asks for no `Context` reads neither the clock nor a random source: both are read when a call's
//! context is made, nowhere else on the way, and these tests see whether it was made.

#![allow(clippy::unwrap_used)]

use catga::{App, Behavior, Behaviors, Call, Handler, Message, Result, send_to};
use catga_bench::{
    ready,
    shop::{Place, PlacePlainly, Placed, Repo, Shop, hear, place, place_plainly},
};
use std::sync::{Arc, Mutex};

/// Looks at the call when everything inside it has answered.
#[derive(Clone, Default)]
struct Witness(Arc<Mutex<Vec<bool>>>);

impl Witness {
    /// For each call, whether its context was made.
    fn saw(&self) -> Vec<bool> {
        self.0.lock().unwrap().clone()
    }
}

impl<M: Message> Behavior<M> for Witness {
    async fn around<H: Handler<M>>(&self, call: &mut Call<'_>, message: M, next: &H) -> Result<M::Reply> {
        let answer = next.handle(call, message).await;
        let call = format!("{call:?}");
        let (none, some) = (call.contains("context: None"), call.contains("context: Some("));
        assert_ne!(none, some, "`{call}` does not say whether its context was made");
        self.0.lock().unwrap().push(some);
        answer
    }
}

fn app(witness: &Witness) -> App {
    let builder = App::builder("lazy").state(Repo::default()).with(witness.clone());
    ready(builder.handle(place).handle(place_plainly).hear(hear).build()).unwrap()
}

#[test]
fn a_static_send_makes_no_context() {
    let witness = Witness::default();
    let shop = Behaviors::<Place>::around(((), witness.clone()), Shop::default());
    ready(send_to(&shop, Place::SOME)).unwrap();
    assert_eq!(witness.saw(), [false]);
}

#[test]
fn a_dynamic_send_makes_no_context() {
    let witness = Witness::default();
    ready(app(&witness).send(PlacePlainly(Place::SOME))).unwrap();
    assert_eq!(witness.saw(), [false]);
}

#[test]
fn a_notification_makes_no_context() {
    let witness = Witness::default();
    ready(app(&witness).notify(Placed(Place::SOME))).unwrap();
    assert_eq!(witness.saw(), [false]);
}

/// The witness would see it.
#[test]
fn a_handler_that_takes_one_gets_one() {
    let witness = Witness::default();
    ready(app(&witness).send(Place::SOME)).unwrap();
    assert_eq!(witness.saw(), [true]);
}
