//! Which commands a transaction takes, and where their keys stand.

use catga_contract::{Error, ErrorKind, Result};

/// Where a command's keys stand among its arguments.
#[derive(Clone, Copy)]
enum Keys {
    First,
    FirstTwo,
    All,
    EverySecond,
}

/// The most arguments of one command, which the server's scripts can pass on.
const MOST: usize = 4_000;

fn keys(name: &str) -> Option<Keys> {
    Some(match name {
        "APPEND" | "BITFIELD" | "DECR" | "DECRBY" | "EXPIRE" | "EXPIREAT" | "GEOADD" | "GETDEL" | "GETEX"
        | "GETSET" | "HDEL" | "HINCRBY" | "HINCRBYFLOAT" | "HMSET" | "HSET" | "HSETNX" | "INCR" | "INCRBY"
        | "INCRBYFLOAT" | "LINSERT" | "LPOP" | "LPUSH" | "LPUSHX" | "LREM" | "LSET" | "LTRIM" | "PERSIST"
        | "PEXPIRE" | "PEXPIREAT" | "PFADD" | "PSETEX" | "RPOP" | "RPUSH" | "RPUSHX" | "SADD" | "SET" | "SETBIT"
        | "SETEX" | "SETNX" | "SETRANGE" | "SPOP" | "SREM" | "XADD" | "XDEL" | "XTRIM" | "ZADD" | "ZINCRBY"
        | "ZPOPMAX" | "ZPOPMIN" | "ZREM" | "ZREMRANGEBYLEX" | "ZREMRANGEBYRANK" | "ZREMRANGEBYSCORE" => Keys::First,
        "LMOVE" | "RENAME" | "RENAMENX" | "RPOPLPUSH" | "SMOVE" => Keys::FirstTwo,
        "DEL" | "PFMERGE" | "SDIFFSTORE" | "SINTERSTORE" | "SUNIONSTORE" | "UNLINK" => Keys::All,
        "MSET" | "MSETNX" => Keys::EverySecond,
        _ => return None,
    })
}

/// Refuses what no transaction of this application may do.
pub(crate) fn check(command: &[Vec<u8>], namespace: &str) -> Result<()> {
    let refuse = |kind, text: String| Err(Error::new(kind, text));
    let Some((name, arguments)) = command.split_first() else {
        return refuse(ErrorKind::Invalid, "a command without a name".into());
    };
    let name = String::from_utf8_lossy(name).to_ascii_uppercase();
    let Some(keys) = keys(&name) else {
        let text = format!(
            "`{name}` is not a write that a transaction takes: reads happen before it, and only commands \
                            whose keys are known can be queued"
        );
        return refuse(ErrorKind::Unsupported, text);
    };
    if command.len() > MOST {
        return refuse(ErrorKind::Invalid, format!("`{name}` with {} arguments; at most {MOST}", arguments.len()));
    }
    let (many, step) = match keys {
        Keys::First => (1, 1),
        Keys::FirstTwo => (2, 1),
        Keys::All => (arguments.len(), 1),
        Keys::EverySecond => (arguments.len(), 2),
    };
    if arguments.len() < many.min(2) || arguments.is_empty() {
        return refuse(ErrorKind::Invalid, format!("`{name}` with {} arguments", arguments.len()));
    }
    for key in arguments.iter().take(many).step_by(step) {
        let shown = String::from_utf8_lossy(key);
        if tag(key) != Some(namespace.as_bytes()) {
            let text = format!(
                "`{name}` on the key `{shown}`: a transaction writes to keys with the hash tag `{{{namespace}}}`"
            );
            return refuse(ErrorKind::Invalid, text);
        }
        if key.starts_with(b"catga:") {
            return refuse(ErrorKind::Invalid, format!("`{name}` on the key `{shown}`, which is Catga's own"));
        }
    }
    Ok(())
}

/// A key's hash tag, by the server's rule: what stands in its first braces, where that is not empty.
fn tag(key: &[u8]) -> Option<&[u8]> {
    let open = key.iter().position(|byte| *byte == b'{')?;
    let rest = &key[open + 1..];
    let close = rest.iter().position(|byte| *byte == b'}')?;
    Some(&rest[..close]).filter(|tag| !tag.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(words: &str) -> Result<()> {
        check(&words.split(' ').map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>(), "shop")
    }

    #[test]
    fn keys_outside_the_applications_tag_and_our_own_are_refused() {
        for fine in
            ["set {shop}:a 1", "MSET a:{shop} 1 b{shop} {not-a-key}", "DEL {shop}1 {shop}2", "SMOVE {shop}a {shop}b x"]
        {
            checked(fine).unwrap();
        }
        for (refused, kind) in [
            ("SET a 1", ErrorKind::Invalid),
            ("SET {other}{shop} 1", ErrorKind::Invalid),
            ("SET {}{shop} 1", ErrorKind::Invalid),
            ("MSET {shop}a 1 b 2", ErrorKind::Invalid),
            ("DEL {shop}a b", ErrorKind::Invalid),
            ("RENAME {shop}a b", ErrorKind::Invalid),
            ("RENAME {shop}a", ErrorKind::Invalid),
            ("SET catga:{shop}:fence 1", ErrorKind::Invalid),
            ("INCR", ErrorKind::Invalid),
            ("GET {shop}a", ErrorKind::Unsupported),
            ("EVAL x 0", ErrorKind::Unsupported),
            ("FLUSHALL", ErrorKind::Unsupported),
        ] {
            assert_eq!(checked(refused).unwrap_err().kind(), kind, "{refused}");
        }
    }
}
