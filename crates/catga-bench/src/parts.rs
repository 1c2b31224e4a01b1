//! `bench parts`: what a send is made of, so that a bound that is missed names its cause.

use crate::{
    harness::{Candidate, Plan, Report, measure},
    ready,
    shop::{Given, Place, PlacePlainly, Shop, app, fresh_context},
};
use catga::{Call, Context, Handler, MessageId, Resources, Result, send_to};
use catga_buf::CountingAlloc;
use std::{
    any::{Any, TypeId},
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    hint::black_box,
};

/// Measures the parts one by one. They do not add up exactly: what stands side by side overlaps in the processor.
///
/// # Errors
///
/// None, unless this crate wires its application wrongly.
pub fn run(plan: Plan) -> Result<Report> {
    let (given, shop, app) = (Given::new(), Shop::default(), app()?);
    let mut lent = Call::direct(Resources::none());
    let order = || black_box(Place::SOME);
    let plain = CountingAlloc::count(|| ready(app.send(PlacePlainly(order())))).bytes as usize;
    let full = CountingAlloc::count(|| ready(app.send(order()))).bytes as usize;
    let (call, context) = (size_of::<Call<'_>>(), size_of::<Context>());
    let (siphash, passing) = (table::<std::hash::RandomState>(), table::<BuildHasherDefault<Passing>>());
    let candidates = vec![
        Candidate::operation("the handler's work", || shop.repo.take(&order(), 1)),
        Candidate::operation("the handler, with a Call that is there", || ready(shop.handle(&mut lent, order()))),
        Candidate::operation(format!("a Call made and dropped, {call} bytes"), || {
            black_box(&mut Call::direct(Resources::none()));
        }),
        Candidate::awaited("static send: both", || send_to(&shop, order())),
        Candidate::operation("a handler found by type, SipHash", || find(&siphash)),
        Candidate::operation("a handler found by type, its hash passed through", || find(&passing)),
        Candidate::operation(format!("a box of {plain} bytes: App::send, state only"), || boxed(plain)),
        Candidate::operation(format!("a box of {full} bytes: App::send, state and context"), || boxed(full)),
        Candidate::operation("a State cloned and dropped", || given.state.clone()),
        Candidate::operation(format!("a Context cloned and dropped, {context} bytes"), || given.context.clone()),
        Candidate::operation("a Context made", fresh_context),
        Candidate::operation("its id: the clock and a random source", MessageId::new),
    ];
    measure(plan, candidates, &[])
}

type Table<S> = HashMap<TypeId, Box<dyn Any>, S>;

/// A table as an application has it, of a few handlers.
fn table<S: std::hash::BuildHasher + Default>() -> Table<S> {
    let mut table = Table::default();
    table.insert(TypeId::of::<Place>(), Box::new(1_u64));
    table.insert(TypeId::of::<PlacePlainly>(), Box::new(2_u64));
    table.insert(TypeId::of::<Given>(), Box::new(3_u64));
    table
}

#[inline(never)]
fn find<S: std::hash::BuildHasher>(table: &Table<S>) -> Option<u64> {
    table.get(&black_box(TypeId::of::<Place>()))?.downcast_ref().copied()
}

fn boxed(size: usize) -> Vec<u8> {
    Vec::with_capacity(black_box(size))
}

/// A type's id is a hash already.
#[derive(Default)]
struct Passing(u64);

impl Hasher for Passing {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Only for what is no type's id: those are written as one number.
        self.0 = bytes.iter().fold(self.0, |hash, byte| hash.rotate_left(5) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}
