//! Dead letters: what consumers could not handle, for a human to look at, to replay, or to discard.

use crate::{
    args::Arg,
    error::{fault, strange},
    inbox::mark,
    scripts::SCRIPTS,
    store::Redis,
};
use bytes::Bytes;
use catga_contract::{DeadLetters, Envelope, Error, ErrorKind, InboxKey, Letter, LetterId, NewLetter, Result};
use redis::Value;
use std::{
    collections::HashMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

impl DeadLetters for Redis {
    async fn bury(&self, letter: &NewLetter<'_>) -> Result<LetterId> {
        let id: u64 = self.run(&SCRIPTS.bury, &fields(letter), "burying").await?;
        Ok(LetterId(id))
    }

    async fn list(&self, after: LetterId, most: usize) -> Result<Vec<Letter>> {
        if most == 0 {
            return Ok(Vec::new());
        }
        self.letters(&format!("({}-0", after.0), "+", most).await
    }

    async fn replay(&self, id: LetterId) -> Result<bool> {
        let number = format!("{}-0", id.0);
        let Some(letter) = self.letters(&number, &number, 1).await?.pop() else { return Ok(false) };
        // What cannot be read has no mark.
        let marked = Envelope::decode(&letter.frame)
            .map(|envelope| mark(InboxKey { consumer: &letter.consumer, key: &envelope.id.to_bytes() }));
        let args = [
            Arg::from(id.0.to_string()),
            Arg::from(&*letter.consumer),
            Arg::from(marked.as_deref().unwrap_or_default()),
            Arg::from(&letter.frame[..]),
        ];
        let answer: u8 = self.run(&SCRIPTS.replay, &args, "replaying a letter").await?;
        match answer {
            0 => Ok(false),
            1 => Ok(true),
            _ => {
                let text =
                    format!("letter {} is of consumer `{}`, which takes nothing any more", id.0, letter.consumer);
                Err(Error::new(ErrorKind::NotFound, text))
            }
        }
    }

    async fn remove(&self, id: LetterId) -> Result<bool> {
        let removed: redis::RedisResult<u64> =
            redis::cmd("XDEL").arg(self.key("letters")).arg(format!("{}-0", id.0)).query_async(&mut self.main()).await;
        Ok(removed.map_err(|error| fault(error, "removing a letter"))? > 0)
    }
}

impl Redis {
    async fn letters(&self, from: &str, to: &str, most: usize) -> Result<Vec<Letter>> {
        let mut call = redis::cmd("XRANGE");
        call.arg(self.key("letters")).arg(from).arg(to).arg("COUNT").arg(most);
        let page: Vec<Value> =
            call.query_async(&mut self.main()).await.map_err(|error| fault(error, "reading letters"))?;
        page.into_iter().map(|entry| letter(entry).ok_or_else(|| strange("reading letters"))).collect()
    }
}

/// A letter's fields, each behind its name.
pub(crate) fn fields<'a>(letter: &NewLetter<'a>) -> [Arg<'a>; 18] {
    let since = |time: SystemTime| {
        let micros = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
        Arg::from(i64::try_from(micros).unwrap_or(i64::MAX))
    };
    [
        Arg::from("consumer"),
        Arg::from(letter.consumer),
        Arg::from("handler"),
        Arg::from(letter.handler),
        Arg::from("frame"),
        Arg::from(letter.frame),
        Arg::from("reason"),
        Arg::from(letter.reason),
        Arg::from("attempts"),
        Arg::from(i64::from(letter.attempts)),
        Arg::from("node"),
        Arg::from(letter.node),
        Arg::from("first"),
        since(letter.first),
        Arg::from("last"),
        since(letter.last),
        Arg::from("parks"),
        Arg::from(letter.parks.map_or(String::new(), |key| key.to_string())),
    ]
}

fn letter(entry: Value) -> Option<Letter> {
    let (id, mut fields): (String, HashMap<String, Vec<u8>>) = redis::from_redis_value(entry).ok()?;
    let id = LetterId(id.split_once('-')?.0.parse().ok()?);
    let frame = Bytes::from(fields.remove("frame")?);
    let text = |name: &str| fields.get(name).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let time = |name: &str| UNIX_EPOCH.checked_add(Duration::from_micros(text(name)?.parse().ok()?));
    Some(Letter {
        id,
        consumer: text("consumer")?.into(),
        handler: text("handler")?.into(),
        frame,
        reason: text("reason")?,
        attempts: text("attempts")?.parse().ok()?,
        node: text("node")?.into(),
        first: time("first")?,
        last: time("last")?,
        parks: text("parks")?.parse().ok(),
    })
}
