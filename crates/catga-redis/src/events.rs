//! Streams of events, and how far their readers have come.
//!
//! A stream of events is a Redis stream whose entry ids are the versions; the order of all streams is one more, whose
//! entries name stream and version. All of them lie in one slot, and one script appends to both: an order that no later
//! commit slips into.

use crate::{
    args::Arg,
    error::{fault, strange},
    scripts::SCRIPTS,
    store::Redis,
    streams::MAX_FRAME,
};
use bytes::Bytes;
use catga_contract::{Checkpoints, Error, ErrorKind, EventStore, Expect, Fence, NewEvent, Recorded, Result, Str};
use futures_util::future::{Either, select};
use redis::Value;
use std::{collections::HashSet, pin::pin, time::Duration};
use tokio::time::{Instant, sleep_until};

/// How often a reader looks for what other processes appended.
pub(crate) const LOOK: Duration = Duration::from_millis(100);

impl EventStore for Redis {
    async fn append(&self, stream: &str, expect: Expect, events: &[NewEvent<'_>]) -> Result<u64> {
        check(stream, events)?;
        let ids: Vec<[u8; 16]> = events.iter().map(|event| event.id.to_bytes()).collect();
        let expected = match expect {
            Expect::Any => Arg::from("any"),
            Expect::Empty => Arg::from(0),
            Expect::Version(version) => Arg::from(version.to_string()),
        };
        let mut args = vec![Arg::from(stream), expected];
        for (id, event) in ids.iter().zip(events) {
            args.extend([Arg::from(&id[..]), Arg::from(event.frame)]);
        }
        let (done, version, some): (bool, u64, bool) = self.run(&SCRIPTS.append, &args, "appending events").await?;
        if done {
            self.inner.appended.notify(usize::MAX);
            return Ok(version);
        }
        let text = if some {
            format!("stream `{stream}`, at version {version}, has some of these events, and not one behind the other")
        } else {
            let wanted = match expect {
                Expect::Any => "any".into(),
                Expect::Empty => "0 (no stream)".to_string(),
                Expect::Version(version) => version.to_string(),
            };
            format!("stream `{stream}` is of version {version}, expected was {wanted}")
        };
        Err(Error::new(ErrorKind::Conflict, text))
    }

    async fn read(&self, stream: &str, from: u64, most: usize) -> Result<Vec<Recorded>> {
        if most == 0 {
            return Ok(Vec::new());
        }
        let mut call = redis::cmd("XRANGE");
        call.arg(self.key(&format!("ev:s:{stream}"))).arg(format!("{from}-0")).arg("+").arg("COUNT").arg(most);
        let page: Vec<Value> =
            call.query_async(&mut self.main()).await.map_err(|error| fault(error, "reading a stream of events"))?;
        let name = Str::from(stream);
        page.into_iter().map(|entry| recorded(&name, entry).ok_or_else(|| strange("reading a stream"))).collect()
    }

    async fn read_all(&self, after: u64, most: usize) -> Result<Vec<Recorded>> {
        if most == 0 {
            return Ok(Vec::new());
        }
        let args = [after.to_string(), most.to_string()];
        let found: Vec<(u64, String, u64, Vec<u8>)> = self.run(&SCRIPTS.read_all, &args, "reading all events").await?;
        let recorded = |(position, stream, version, frame): (_, String, _, Vec<u8>)| {
            Recorded::new(position, stream.into(), version, Bytes::from(frame))
        };
        Ok(found.into_iter().map(recorded).collect())
    }

    /// What other processes append is looked for every 100 ms.
    async fn wait(&self, after: u64, time: Duration) -> Result<()> {
        let end = Instant::now().checked_add(time);
        loop {
            let rings = self.inner.appended.listen();
            let get = redis::cmd("GET").arg(self.key("ev:n")).to_owned();
            let last: Option<u64> =
                get.query_async(&mut self.main()).await.map_err(|error| fault(error, "waiting for events"))?;
            let now = Instant::now();
            if last.unwrap_or_default() > after || end.is_some_and(|end| end <= now) {
                return Ok(());
            }
            let look = end.map_or(now + LOOK, |end| end.min(now + LOOK));
            match select(rings, pin!(sleep_until(look))).await {
                Either::Left(_) | Either::Right(_) => {}
            }
        }
    }
}

fn check(stream: &str, events: &[NewEvent<'_>]) -> Result<()> {
    let refuse = |text: String| Err(Error::new(ErrorKind::Invalid, text));
    if !(1..=255).contains(&stream.len()) {
        return refuse(format!("a stream whose name has {} bytes; 1 to 255", stream.len()));
    }
    let mut ids = HashSet::new();
    for event in events {
        if event.frame.len() > MAX_FRAME {
            let size = event.frame.len();
            return refuse(format!("an event `{}` of {size} bytes; this store keeps at most {MAX_FRAME}", event.name));
        }
        if !ids.insert(event.id) {
            return refuse(format!("event {} stands twice among those for stream `{stream}`", event.id));
        }
    }
    Ok(())
}

/// An event as its entry tells it: the id is the version, the fields are position and frame.
fn recorded(stream: &Str, entry: Value) -> Option<Recorded> {
    let (id, fields): (String, Vec<Vec<u8>>) = redis::from_redis_value(entry).ok()?;
    let version = id.split_once('-')?.0.parse().ok()?;
    let [_, position, _, frame] = <[Vec<u8>; 4]>::try_from(fields).ok()?;
    let position = std::str::from_utf8(&position).ok()?.parse().ok()?;
    Some(Recorded::new(position, stream.clone(), version, Bytes::from(frame)))
}

impl Checkpoints for Redis {
    async fn load(&self, name: &str) -> Result<(u64, Fence)> {
        let key = self.key(&format!("cp:{name}"));
        let mut calls = redis::pipe();
        calls.atomic().cmd("HINCRBY").arg(&key).arg("fence").arg(1).cmd("HGET").arg(&key).arg("position");
        let (fence, position): (u64, Option<u64>) =
            calls.query_async(&mut self.main()).await.map_err(|error| fault(error, "loading a position"))?;
        Ok((position.unwrap_or_default(), Fence(fence)))
    }

    async fn save(&self, name: &str, position: u64, fence: Fence) -> Result<()> {
        let args = [Arg::from(name), Arg::from(position.to_string()), Arg::from(fence.0.to_string())];
        let saved: bool = self.run(&SCRIPTS.save, &args, "saving a position").await?;
        if saved {
            return Ok(());
        }
        let text = format!("the fence {} of reader `{name}` is stale: somebody else has taken over", fence.0);
        Err(Error::new(ErrorKind::Conflict, text))
    }
}
