//! One request, one event, one consumer, no server.
use catga::{App, Event, MessageId, Request, Tx, sqlite::Sqlite};
use serde::{Deserialize, Serialize};

#[derive(Request)]
#[catga(name = "greet", reply = MessageId, local)]
struct Greet(String);

#[derive(Event, Clone, Serialize, Deserialize)]
#[catga(name = "greeted")]
struct Greeted(String);

async fn greet(Greet(name): Greet, mut tx: Tx<Sqlite>) -> catga::Result<MessageId> {
    tx.publish(Greeted(name)) // the event is kept with this call's commit
}

async fn count(Greeted(name): Greeted, mut tx: Tx<Sqlite>) -> catga::Result<()> {
    tx.execute("INSERT INTO greeted (name) VALUES (?1)", [name])?;
    Ok(()) // row, mark and acknowledgement are one commit
}

#[tokio::main]
async fn main() -> catga::Result<()> {
    let store = Sqlite::temporary().await?.migrate(&["CREATE TABLE greeted (name TEXT)"]).await?;
    let app = App::builder("hello").store(store.clone()).handle(greet).on("count", count).build().await?;
    app.send(Greet("world".into())).await?;
    app.run_until_idle().await?;
    assert_eq!(store.read(|db| db.query_row("SELECT count(*) FROM greeted", (), |row| row.get::<_, i64>(0)))?, 1);
    Ok(())
}
