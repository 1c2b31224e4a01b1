//! The relay: what was committed to an outbox leaves by the transport.

use crate::{app::Core, backoff::Backoff, stop::Stopped};
use catga_contract::{BoxTransport, Outbox, Outcome, Parcel, Result, Row, Transport};
use std::{sync::Arc, time::Duration};

/// How many rows are carried at a time.
const BATCH: usize = 256;

/// How long to wait when store or transport fail: 10 ms, doubled up to a second.
pub(crate) const TROUBLE: Backoff = Backoff {
    attempts: u32::MAX,
    first: Duration::from_millis(10),
    factor: 2.0,
    most: Duration::from_secs(1),
    jitter: 0.2,
};

pub(crate) async fn relay<S: Outbox>(
    store: Arc<S>,
    core: Arc<Core>,
    transport: BoxTransport,
    stop: Stopped,
) -> Result<()> {
    let mut failures = 0;
    while !stop.is_wanted() {
        match carry(&*store, &transport).await {
            Ok(Carried::Nothing) => {
                failures = 0;
                stop.unless(store.written()).await;
            }
            Ok(Carried::All) => {
                failures = 0;
                core.worked();
            }
            Ok(Carried::Some) => {
                core.worked();
                failures += 1;
                stop.pause(TROUBLE.pause(failures)).await;
            }
            Err(error) => {
                failures += 1;
                tracing::warn!(%error, failures, "relay: nothing left; it is tried again");
                stop.pause(TROUBLE.pause(failures)).await;
            }
        }
    }
    Ok(())
}

enum Carried {
    Nothing,
    /// All that was pending, or as much as is carried at a time.
    All,
    /// Some outcomes are unknown: those are sent again under the same ids.
    Some,
}

async fn carry(store: &impl Outbox, transport: &BoxTransport) -> Result<Carried> {
    let rows = store.pending(BATCH).await?;
    if rows.is_empty() {
        return Ok(Carried::Nothing);
    }
    let parcel = |row: &Row| Parcel::new(row.subject.clone(), row.id, row.frame.clone());
    let parcels: Vec<Parcel> = rows.iter().map(parcel).collect();
    let mut outcomes = Vec::with_capacity(parcels.len());
    transport.publish(&parcels, &mut outcomes).await?;
    let (mut sent, mut carried) = (Vec::with_capacity(rows.len()), Carried::All);
    let mut refused = Vec::new();
    for (row, outcome) in rows.iter().zip(outcomes) {
        match outcome {
            Outcome::Stored | Outcome::Duplicate => sent.push(row.number),
            Outcome::Unknown => carried = Carried::Some,
            Outcome::Refused(error) => refused.push((row, error)),
        }
    }
    if !sent.is_empty() {
        store.sent(&sent).await?;
    }
    for (row, error) in refused {
        let pause = Backoff::default().pause(row.attempts + 1);
        tracing::error!(id = %row.id, subject = %row.subject, attempts = row.attempts + 1, %error, "relay: refused");
        store.failed(row.number, &format!("{error:#}"), pause).await?;
    }
    Ok(carried)
}
