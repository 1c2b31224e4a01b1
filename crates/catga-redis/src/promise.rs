use catga_contract::{Durability, Error, ErrorKind, Result};
use redis::aio::ConnectionLike;
use std::{collections::HashMap, fmt};

/// What the server does with what it has acknowledged, as it said when it was asked at start.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Promise {
    /// `appendonly`; `None` where the server does not tell.
    pub appendonly: Option<String>,
    /// `appendfsync`.
    pub appendfsync: Option<String>,
    /// `maxmemory-policy`.
    pub maxmemory_policy: Option<String>,
    /// What an acknowledged message survives: the machine's power where the server writes each command to the disk before
    /// it answers, else only the death of this process.
    pub durable: Durability,
    /// What may lose acknowledged messages; empty where nothing does.
    pub dangers: Vec<String>,
}

impl Promise {
    /// Asks the server.
    pub(crate) async fn ask(connection: &mut impl ConnectionLike) -> Self {
        let mut setting = HashMap::new();
        for name in ["appendonly", "appendfsync", "maxmemory-policy"] {
            let answer: redis::RedisResult<Vec<String>> =
                redis::cmd("CONFIG").arg("GET").arg(name).query_async(connection).await;
            if let Ok([_, value]) = answer.as_deref() {
                setting.insert(name, value.clone());
            }
        }
        Self::judge(setting.remove("appendonly"), setting.remove("appendfsync"), setting.remove("maxmemory-policy"))
    }

    fn judge(appendonly: Option<String>, appendfsync: Option<String>, maxmemory_policy: Option<String>) -> Self {
        let mut dangers = Vec::new();
        match (appendonly.as_deref(), appendfsync.as_deref()) {
            (Some("yes"), Some("always")) => {}
            (Some("yes"), Some("everysec")) => {
                dangers.push(
                    "appendfsync everysec: a power cut loses up to about a second of what was acknowledged".into(),
                );
            }
            (Some("yes"), other) => {
                let other = other.unwrap_or("unknown");
                dangers.push(format!("appendfsync {other}: a power cut loses what the system had not written yet"));
            }
            (Some(_), _) => {
                dangers.push(
                    "appendonly no: a restart loses what was acknowledged since the last snapshot, or everything"
                        .into(),
                );
            }
            (None, _) => dangers.push("the server does not tell whether it keeps anything (CONFIG GET)".into()),
        }
        match maxmemory_policy.as_deref() {
            Some("noeviction") => {}
            Some(policy) => dangers.push(format!("maxmemory-policy {policy}: a full memory evicts messages or marks")),
            None => dangers.push("the server does not tell whether it evicts (CONFIG GET)".into()),
        }
        let durable = if dangers.is_empty() { Durability::Disk } else { Durability::Process };
        Self { appendonly, appendfsync, maxmemory_policy, durable, dangers }
    }

    /// Logs the promise; with `strict` refuses one that has dangers.
    pub(crate) fn hold(&self, strict: bool, place: &str) -> Result<()> {
        if self.dangers.is_empty() {
            tracing::info!(place, promise = %self, "Redis keeps what it acknowledges");
            return Ok(());
        }
        if strict {
            let text = format!("Redis at {place} may lose what it acknowledges, and `strict` refuses that: {self}");
            return Err(Error::new(ErrorKind::Invalid, text));
        }
        tracing::warn!(place, promise = %self, "Redis may lose what it acknowledges");
        Ok(())
    }
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.dangers.is_empty() {
            return f.write_str("what was acknowledged survives the death of every process and a power cut");
        }
        f.write_str(&self.dangers.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_server_that_syncs_and_never_evicts_promises_the_disk() {
        let judged = |only: &str, sync: &str, policy: &str| {
            Promise::judge(Some(only.into()), Some(sync.into()), Some(policy.into()))
        };
        assert_eq!(judged("yes", "always", "noeviction").durable, Durability::Disk);
        for (only, sync, policy) in
            [("no", "always", "noeviction"), ("yes", "everysec", "noeviction"), ("yes", "always", "allkeys-lru")]
        {
            let promise = judged(only, sync, policy);
            assert_eq!((promise.durable, promise.dangers.len()), (Durability::Process, 1), "{promise}");
            assert!(promise.hold(true, "here").is_err() && promise.hold(false, "here").is_ok());
        }
        assert_eq!(Promise::judge(None, None, None).dangers.len(), 2);
    }
}
