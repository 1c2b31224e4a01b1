//! Messages in the bytes of .NET's MemoryPack, through a whole application.
#![allow(clippy::unwrap_used)]
#![cfg(all(feature = "memorypack", feature = "json"))]

use catga::{App, Event, MemoryPack, Request, State, Str, Tx, memory::Memory, testing::Published};
use serde::{Deserialize, Serialize};
use std::sync::Mutex;

#[derive(Request, MemoryPack)]
#[catga(name = "orders.place", reply = Result<u64, String>, codec = MemoryPack)]
struct Place {
    id: u64,
    sku: String,
}

/// Has serde's traits, too, for tools.
#[derive(Event, Clone, Debug, PartialEq, MemoryPack, Serialize, Deserialize)]
#[catga(name = "orders.placed", codec = (MemoryPack, catga::Json), key = id)]
struct Placed {
    id: u64,
    sku: String,
}

#[derive(Event, Clone, MemoryPack)]
#[catga(name = "orders.noted", codec = MemoryPack)]
struct Noted {
    text: Str,
}

async fn place(Place { id, sku }: Place, mut tx: Tx<Memory>) -> catga::Result<Result<u64, String>> {
    if id == 0 {
        return Ok(Err("no order 0".into()));
    }
    tx.publish(Placed { id, sku: sku.clone() })?;
    tx.publish(Noted { text: Str::from(sku) })?;
    Ok(Ok(id))
}

async fn placed(event: Placed, seen: State<Mutex<Vec<Placed>>>) -> catga::Result<()> {
    seen.lock().unwrap().push(event);
    Ok(())
}

async fn noted(Noted { text }: Noted, notes: State<Mutex<Vec<Str>>>) -> catga::Result<()> {
    notes.lock().unwrap().push(text);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn requests_and_events_travel_in_the_bytes_of_dotnet() {
    let memory = Memory::new();
    let published = Published::by(memory.clone());
    let app = App::builder("shop").store(memory.clone()).transport(published.clone()).requests(memory.clone());
    let app = app.state(Mutex::new(Vec::<Placed>::new())).state(Mutex::new(Vec::<Str>::new())).serve(place);
    let app = app.on("log", placed).on("notes", noted).build().await.unwrap();
    let other = App::builder("other").requests(memory).build().await.unwrap();

    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let asking = async {
        tokio::task::yield_now().await;
        let sku = || "A-1".to_owned();
        assert_eq!(other.ask(Place { id: 0, sku: sku() }).await.unwrap(), Err("no order 0".into()));
        assert_eq!(other.ask(Place { id: 7, sku: sku() }).await.unwrap(), Ok(7));
        app.idle().await.unwrap();
        stop.send(()).unwrap();
    };
    let (run, ()) = tokio::join!(app.run(async move { drop(stopped.await) }), asking);
    run.unwrap();

    let envelopes = published.envelopes().unwrap();
    let placed = envelopes.iter().find(|envelope| envelope.name == "orders.placed").unwrap();
    assert_eq!(placed.codec, "memorypack");
    assert_eq!(placed.payload[..], b"\x02\x07\0\0\0\0\0\0\0\xfc\xff\xff\xff\x03\0\0\0A-1"[..]);
    assert_eq!(app.types().to_json(placed).unwrap(), r#"{"id":7,"sku":"A-1"}"#, "tools read it by its type");
    assert_eq!(published.of::<Placed>().unwrap(), [Placed { id: 7, sku: "A-1".into() }]);
}
