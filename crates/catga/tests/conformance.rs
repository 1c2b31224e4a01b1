//! The conformance suite over the store in memory.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use catga::{
    Envelope, MessageId, Result,
    memory::{Memory, MemoryTx},
};
use catga_contract::{EventStore, EventsInTx, Expect, NewEvent};
use catga_testkit::{Backend, Rows};

/// A store for each case.
struct Fresh;

/// Where its business rows lie: a stream is the one thing that a transaction writes beside messages.
const ROWS: &str = "rows";

impl Backend for Fresh {
    type Store = Memory;

    async fn open(&self) -> Result<Memory> {
        Ok(Memory::new())
    }

    #[cfg(feature = "sabotage")]
    fn fault(&self) -> Option<catga_contract::Fault> {
        catga_testkit::wanted_fault()
    }
}

impl Rows for Fresh {
    async fn write(store: &Memory, tx: &mut MemoryTx, row: u64) -> Result<()> {
        let payload = Bytes::from(row.to_le_bytes().to_vec());
        let envelope = Envelope::new(MessageId::new(), "row".into(), "raw".into(), payload);
        let frame = envelope.encode()?;
        let row = NewEvent { id: envelope.id, name: "row", frame: &frame };
        store.append_in(tx, ROWS, Expect::Any, &[row]).await.map(drop)
    }

    async fn rows(store: &Memory) -> Result<Vec<u64>> {
        let rows = store.read(ROWS, 1, usize::MAX).await?;
        rows.iter().map(|row| Ok(u64::from_le_bytes(row.open()?.payload[..8].try_into()?))).collect()
    }
}

catga_testkit::conformance!(
    memory,
    Fresh,
    [
        transport, settlement, order_stream, order_key, no_dedupe, atomic_batch, delay, groups, fenced_settle, unit,
        unit_queue, effects, outbox, inbox, inbox_in_tx, events, checkpoints, events_in_tx, letters, replay, park,
        bad_data, resource, model_inbox, model_unit, model_queue, model_events, model_checkpoints, model_letters,
    ]
);
