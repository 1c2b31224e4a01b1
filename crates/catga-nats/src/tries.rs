//! How many tries of a message were started, kept where a dying process leaves it.
//!
//! The server counts deliveries, started or not; that tells one thing reliably: whether anybody has seen the message
//! before. A first delivery costs nothing here. What comes again has a record beside it: how many tries count, and at
//! which delivery that was written. Where the record is of the delivery just before, whoever had it settled it, and the
//! count is exact. Else somebody took the message and was not heard of: such a *suspect* is counted before it starts and
//! handed out alone, so that what kills its process ends as a dead letter and takes no innocent one with it.

use crate::{bucket::Bucket, names::token};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use catga_contract::Result;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tries {
    /// How many count.
    pub(crate) count: u32,
    /// The server's number of the delivery at which this was written.
    pub(crate) delivery: u64,
    /// When the first try started.
    pub(crate) first: SystemTime,
}

impl Tries {
    fn encode(self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(20);
        bytes.put_u32(self.count);
        bytes.put_u64(self.delivery);
        bytes.put_u64(self.first.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64));
        bytes.freeze()
    }

    fn decode(mut bytes: &[u8]) -> Option<Self> {
        if bytes.len() < 20 {
            return None;
        }
        let (count, delivery, first) = (bytes.get_u32(), bytes.get_u64(), bytes.get_u64());
        Some(Self { count, delivery, first: UNIX_EPOCH + Duration::from_micros(first) })
    }
}

/// The key of a message's record: the stream's number begins anew where the stream is made anew, which its time of
/// making tells apart.
pub(crate) fn key(consumer: &str, made: i64, sequence: u64) -> String {
    format!("{}.{made}.{sequence}", token(consumer))
}

pub(crate) async fn load(bucket: &Bucket, key: &str) -> Result<Option<Tries>> {
    Ok(bucket.get(key).await?.filter(|held| !held.gone).and_then(|held| Tries::decode(&held.value)))
}

pub(crate) async fn save(bucket: &Bucket, key: &str, tries: Tries) -> Result<()> {
    bucket.put(key, tries.encode()).await.map(drop)
}
