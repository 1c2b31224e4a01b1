//! The ledger: how many allocations an operation of each path makes, exactly.
//!
//! Each is measured on one thread, polled by hand, after 1,000 operations to warm up, over 1,000 more. `tests/ledger.rs`
//! fails where a number differs: one that rose is a regression, one that fell is progress that the row must say.

use crate::{
    Machine, ready,
    report::{number, table},
    shop::{Noted, Place, PlacePlainly, Placed, Shop, app, app_through_three, through_three},
};
use bytes::Bytes;
use catga::{Codec, Envelope, Error, Json, MemoryPack, MessageId, Result, Str, send_to};
use catga_buf::{BufferPool, CountingAlloc};
use serde::{Deserialize, Serialize};
use std::{
    hint::black_box,
    io::{self, Write},
};

/// Operations before anything counts, and operations that count.
const OPERATIONS: u64 = 1_000;

/// One path.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// A short name, unique.
    pub name: &'static str,
    /// What is called.
    pub path: &'static str,
    /// Allocations an operation, exactly.
    pub expected: u64,
    /// What they are.
    pub why: &'static str,
    measure: fn() -> Result<Measured>,
}

/// What a row measured.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Measured {
    /// Allocations of all operations.
    pub allocations: u64,
    /// Bytes that they asked for.
    pub bytes: u64,
    /// How many operations.
    pub operations: u64,
}

impl Row {
    /// Measures it.
    ///
    /// # Errors
    ///
    /// Where an operation cannot be set up.
    ///
    /// # Panics
    ///
    /// Panics where no [`CountingAlloc`] is the global allocator.
    pub fn measure(&self) -> Result<Measured> {
        (self.measure)()
    }

    /// What differs, for a person; nothing where the number is the expected one.
    pub fn complaint(&self, found: Measured) -> Option<String> {
        let Self { name, path, expected, .. } = *self;
        let each = found.allocations as f64 / found.operations as f64;
        let advice = match found.allocations.cmp(&(expected * found.operations)) {
            std::cmp::Ordering::Equal => return None,
            std::cmp::Ordering::Greater => "something on the path began to allocate",
            std::cmp::Ordering::Less => "the path became better: write the new number into its row",
        };
        Some(format!("`{name}` ({path}) makes {} allocations, the ledger says {expected}: {advice}", number(each)))
    }
}

/// All rows.
pub const ROWS: &[Row] = &[
    Row {
        name: "static send",
        path: "send_to(&handler, request)",
        expected: 0,
        why: "a function call",
        measure: || {
            let shop = Shop::default();
            counted(|| ready(send_to(&shop, black_box(Place::SOME))))
        },
    },
    Row {
        name: "static send, 3 behaviors",
        path: "send_to(&behaviors.around(handler), request)",
        expected: 0,
        why: "behaviors compose as types",
        measure: || {
            let three = through_three(Shop::default());
            counted(|| ready(send_to(&three, black_box(Place::SOME))))
        },
    },
    Row {
        name: "dynamic send",
        path: "App::send to async fn(M, State, Context)",
        expected: 0,
        why: "the handler's future lies in a block of the pool",
        measure: || {
            let app = app()?;
            counted(|| ready(app.send(black_box(Place::SOME))))
        },
    },
    Row {
        name: "dynamic send, state only",
        path: "App::send to async fn(M, State)",
        expected: 0,
        why: "the same",
        measure: || {
            let app = app()?;
            counted(|| ready(app.send(PlacePlainly(black_box(Place::SOME)))))
        },
    },
    Row {
        name: "dynamic send, 3 behaviors",
        path: "App::send through Builder::with, 3 times",
        expected: 0,
        why: "one future holds the handler and its behaviors",
        measure: || {
            let app = app_through_three()?;
            counted(|| ready(app.send(black_box(Place::SOME))))
        },
    },
    Row {
        name: "notify to 3",
        path: "App::notify(event), 3 × Builder::hear",
        expected: 0,
        why: "a block of the pool for each handler's future; the event's clones allocate nothing",
        measure: || {
            let app = app()?;
            counted(|| ready(app.notify(Placed(black_box(Place::SOME)))))
        },
    },
    Row {
        name: "notify to 3, event on the heap",
        path: "App::notify(event with one String), 3 × Builder::hear",
        expected: 3,
        why: "the event itself, and 2 clones: the last who hears gets the event",
        measure: || {
            let app = app()?;
            counted(|| ready(app.notify(Noted(black_box("call me back").to_owned()))))
        },
    },
    Row {
        name: "JSON encode",
        path: "Json::encode(&value, &mut reused_vec)",
        expected: 0,
        why: "the buffer is there",
        measure: || {
            let (order, mut out) = (Order::some(), Vec::new());
            counted(|| {
                out.clear();
                Json::encode(black_box(&order), &mut out)
            })
        },
    },
    Row {
        name: "MemoryPack encode",
        path: "MemoryPack::encode(&value, &mut reused_vec)",
        expected: 0,
        why: "the buffer is there",
        measure: || {
            let (order, mut out) = (Order::some(), Vec::new());
            counted(|| {
                out.clear();
                MemoryPack::encode(black_box(&order), &mut out)
            })
        },
    },
    Row {
        name: "MemoryPack decode in place",
        path: "MemoryPack::decode_in_place(&bytes, &mut value)",
        expected: 0,
        why: "the old value's texts and list are used again",
        measure: || {
            let (mut order, mut bytes) = (Order::some(), Vec::new());
            MemoryPack::encode(&order, &mut bytes)?;
            counted(|| MemoryPack::decode_in_place(black_box(&bytes), &mut order))
        },
    },
    Row {
        name: "pooled encode",
        path: "MemoryPack::encode(&value, &mut pool.acquire(256))",
        expected: 0,
        why: "the block comes home when the buffer is dropped",
        measure: || {
            let (order, pool) = (Order::some(), BufferPool::global());
            counted(|| {
                let mut buffer = pool.acquire(256);
                MemoryPack::encode(black_box(&order), &mut buffer)
            })
        },
    },
    Row {
        name: "frame decode",
        path: "Envelope::decode(&shared_frame)",
        expected: 0,
        why: "every field shares the frame",
        measure: || {
            let frame = frame()?;
            counted(|| Envelope::decode(black_box(&frame)))
        },
    },
    Row {
        name: "frame decode, from a Vec",
        path: "Envelope::decode(&Bytes::from(vec))",
        expected: 2,
        why: "the Vec, and the count that Bytes makes when it is first shared; a slab makes neither",
        measure: || {
            let frame = frame()?;
            counted(|| Envelope::decode(&Bytes::from(black_box(&frame[..]).to_vec())))
        },
    },
];

/// Measures an operation that must succeed.
fn counted<T, E: Into<Error>>(mut operation: impl FnMut() -> Result<T, E>) -> Result<Measured> {
    for _ in 0..OPERATIONS {
        operation().map_err(Into::into)?;
    }
    let mut failed = None;
    let counted = CountingAlloc::count(|| {
        for _ in 0..OPERATIONS {
            if let Err(error) = black_box(operation()) {
                failed = Some(error);
            }
        }
    });
    failed.map_or(Ok(()), |error| Err(error.into()))?;
    Ok(Measured { allocations: counted.count, bytes: counted.bytes, operations: OPERATIONS })
}

/// An order as it travels: text, numbers, and five items.
#[derive(Serialize, Deserialize, MemoryPack)]
struct Order {
    id: u64,
    customer: String,
    items: Vec<Item>,
}

#[derive(Serialize, Deserialize, MemoryPack)]
struct Item {
    sku: String,
    quantity: u32,
    price: f64,
}

impl Order {
    fn some() -> Self {
        let item = |number: u32| Item { sku: format!("SKU-{number:08}"), quantity: number, price: 12.5 };
        Self { id: 7, customer: "Ada Lovelace".into(), items: (1..=5).map(item).collect() }
    }
}

fn frame() -> Result<Bytes> {
    let mut payload = Vec::new();
    Json::encode(&Order::some(), &mut payload)?;
    let name = Str::from_static("bench.ordered");
    let mut envelope = Envelope::new(MessageId::new(), name, Str::from_static("json"), payload.into());
    envelope.correlation = MessageId::new();
    envelope.trace = Some([b'0'; 55]);
    Ok(envelope.encode()?.into())
}

#[derive(Serialize)]
struct Line {
    name: &'static str,
    path: &'static str,
    expected: u64,
    #[serde(flatten)]
    found: Measured,
    holds: bool,
    why: &'static str,
}

/// Measures all rows and prints them, as a table or as one line of JSON; answers whether all numbers are the expected
/// ones.
///
/// # Errors
///
/// Where a row cannot be measured, and what `out` answers.
///
/// # Panics
///
/// As [`Row::measure`].
pub fn print(json: bool, out: &mut impl Write) -> Result<bool> {
    let mut lines = Vec::new();
    for row in ROWS {
        let Row { name, path, expected, why, .. } = *row;
        let found = row.measure()?;
        lines.push(Line { name, path, expected, found, holds: row.complaint(found).is_none(), why });
    }
    if json {
        serde_json::to_writer(&mut *out, &serde_json::json!({ "machine": Machine::here(), "rows": &lines }))?;
        writeln!(out)?;
    } else {
        person(&lines, out)?;
    }
    Ok(lines.iter().all(|line| line.holds))
}

fn person(lines: &[Line], out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{}\n", Machine::here())?;
    let each = |sum: u64, line: &Line| number(sum as f64 / line.found.operations as f64);
    let rows = lines.iter().map(|line| {
        let allocations = each(line.found.allocations, line);
        let allocations = if line.holds { allocations } else { format!("{allocations}, EXPECTED {}", line.expected) };
        let bytes = each(line.found.bytes, line);
        vec![line.name.into(), line.path.into(), allocations, bytes, line.why.into()]
    });
    writeln!(out, "{}", table(&["path", "call", "allocations", "bytes", "what they are"], rows))
}
