use crate::{Nats, bucket::Bucket, names::token};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use catga_contract::{Checkpoints, Error, ErrorKind, Fence, Result};
use std::time::Duration;

/// How often a write is tried that met another one.
const TRIES: u32 = 16;

/// How far readers have come, in a key-value bucket; fenced by the value, and written by its revision.
#[derive(Clone, Debug)]
pub struct NatsCheckpoints {
    bucket: Bucket,
}

impl NatsCheckpoints {
    /// Opens the bucket, and makes it where it is missing. Checkpoints are kept for ever.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] where the server does not answer, [`ErrorKind::Invalid`] where it refuses the bucket.
    pub async fn open(nats: &Nats, bucket: &str) -> Result<Self> {
        Ok(Self { bucket: Bucket::open(nats, bucket, Duration::ZERO, 1).await? })
    }

    async fn held(&self, name: &str) -> Result<(u64, u64, u64)> {
        let held = self.bucket.get(&token(name)).await?;
        Ok(held.map_or((0, 0, 0), |held| {
            let mut value = held.value;
            let known = value.len() >= 16;
            let (position, fence) = if known { (value.get_u64(), value.get_u64()) } else { (0, 0) };
            (position, fence, held.revision)
        }))
    }
}

fn value(position: u64, fence: u64) -> Bytes {
    let mut bytes = BytesMut::with_capacity(16);
    bytes.put_u64(position);
    bytes.put_u64(fence);
    bytes.freeze()
}

impl Checkpoints for NatsCheckpoints {
    async fn load(&self, name: &str) -> Result<(u64, Fence)> {
        let mut tries = 0;
        loop {
            let (position, fence, revision) = self.held(name).await?;
            match self.bucket.swap(&token(name), value(position, fence + 1), revision).await {
                Ok(_) => return Ok((position, Fence(fence + 1))),
                Err(error) => {
                    // A lost answer leaves a fence that nobody has: a higher one is taken.
                    tries += 1;
                    if tries == TRIES || error.kind() != ErrorKind::Conflict {
                        return Err(error.context(format_args!("taking reader `{name}` over")));
                    }
                }
            }
        }
    }

    async fn save(&self, name: &str, position: u64, fence: Fence) -> Result<()> {
        let mut tries = 0;
        loop {
            let (_, held, revision) = self.held(name).await?;
            if held != fence.0 {
                let text = format!("reader `{name}` was taken over: fence {held} is newer than {}", fence.0);
                return Err(Error::new(ErrorKind::Conflict, text));
            }
            match self.bucket.swap(&token(name), value(position, fence.0), revision).await {
                Ok(_) => return Ok(()),
                Err(error) => {
                    tries += 1;
                    if tries == TRIES || error.kind() != ErrorKind::Conflict {
                        return Err(error);
                    }
                }
            }
        }
    }
}
