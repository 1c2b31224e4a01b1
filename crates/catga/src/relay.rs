//! The relay: what was committed to an outbox leaves by the transport, in the order of each partition.

use crate::{app::Core, backoff::Backoff, stop::Stopped};
use catga_contract::{BoxTransport, Error, Lease, Outbox, Outcome, Parcel, Result, Row, Transport};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// How many rows are carried at a time.
const BATCH: usize = 256;

/// How long partitions are leased, and when the lease is renewed.
const LEASE: Duration = Duration::from_secs(30);
const RENEW: Duration = Duration::from_secs(10);

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
    let mut leased: Option<(Lease, Instant)> = None;
    while !stop.is_wanted() {
        if leased.is_none_or(|(_, since)| since.elapsed() >= RENEW) {
            leased = store.lease(LEASE).await.inspect_err(report).ok().map(|lease| (lease, Instant::now()));
        }
        let Some((lease, _)) = leased else {
            stop.pause(TROUBLE.pause(u32::MAX)).await;
            continue;
        };
        match carry(&*store, &core, &transport, &lease).await {
            Ok(Carried::Nothing) => {
                failures = 0;
                stop.unless(tokio::time::timeout(RENEW, store.written())).await;
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

fn report(error: &Error) {
    tracing::warn!(%error, "relay: no lease; it is asked for again");
}

async fn carry(store: &impl Outbox, core: &Core, transport: &BoxTransport, lease: &Lease) -> Result<Carried> {
    let rows = store.pending(lease, BATCH).await?;
    if rows.is_empty() {
        return Ok(Carried::Nothing);
    }
    let mut carried = Carried::All;
    let mut blocked = 0_u64;
    for wave in waves(&rows, transport.capabilities().atomic_batch) {
        let wave: Vec<&Row> = wave.into_iter().filter(|row| blocked & bit(row) == 0).collect();
        let parcel = |row: &&Row| {
            let mut parcel = Parcel::new(row.subject.clone(), row.id, row.frame.clone());
            parcel.key = row.key;
            parcel
        };
        let parcels: Vec<Parcel> = wave.iter().map(parcel).collect();
        let mut outcomes = Vec::with_capacity(parcels.len());
        core.send(transport, &parcels, &mut outcomes).await?;
        let (mut sent, mut refused) = (Vec::with_capacity(wave.len()), Vec::new());
        let mut outcomes = outcomes.into_iter();
        for row in wave {
            // A transport that says nothing of a parcel leaves it unknown.
            match outcomes.next().unwrap_or(Outcome::Unknown) {
                Outcome::Stored | Outcome::Duplicate => sent.push(row.number),
                Outcome::Unknown => {
                    blocked |= bit(row);
                    carried = Carried::Some;
                }
                Outcome::Refused(error) => {
                    blocked |= bit(row);
                    refused.push((row, error));
                }
            }
        }
        if !sent.is_empty() {
            store.sent(lease, &sent).await?;
        }
        for (row, error) in refused {
            let tries = row.attempts + 1;
            tracing::error!(id = %row.id, subject = %row.subject, attempts = tries, %error, "relay: refused");
            store.failed(lease, row.number, &format!("{error:#}"), Backoff::default().pause(tries)).await?;
        }
    }
    Ok(carried)
}

fn bit(row: &Row) -> u64 {
    1 << (row.partition & 63)
}

/// What may be under way at a time: everything where a batch is kept whole or not at all, else one row of each
/// partition, so that a row whose answer is lost is sent again before its successors.
fn waves(rows: &[Row], atomic: bool) -> Vec<Vec<&Row>> {
    if atomic {
        return vec![rows.iter().collect()];
    }
    let mut waves: Vec<Vec<&Row>> = Vec::new();
    let mut depth = [0_usize; 64];
    for row in rows {
        let wave = &mut depth[usize::from(row.partition & 63)];
        if waves.len() == *wave {
            waves.push(Vec::new());
        }
        waves[*wave].push(row);
        *wave += 1;
    }
    waves
}

#[cfg(test)]
mod tests {
    use super::*;
    use catga_contract::MessageId;

    #[test]
    fn a_wave_has_one_row_of_each_partition_and_waves_keep_their_order() {
        let row = |(number, partition)| Row::new(number, MessageId::NIL, "a".into(), bytes::Bytes::new(), partition);
        let rows: Vec<Row> = [(1, 5), (2, 7), (3, 5), (4, 5), (5, 0), (6, 7)].map(row).into();
        let numbers = |atomic| -> Vec<Vec<u64>> {
            waves(&rows, atomic).iter().map(|wave| wave.iter().map(|row| row.number).collect()).collect()
        };
        assert_eq!(numbers(false), [vec![1, 2, 5], vec![3, 6], vec![4]]);
        assert_eq!(numbers(true), [vec![1, 2, 3, 4, 5, 6]]);
    }
}
