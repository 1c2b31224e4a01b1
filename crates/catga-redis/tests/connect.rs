//! Connecting: what the server promises, who one is, and what is never printed.
#![allow(clippy::unwrap_used)]

mod support;

use catga_contract::{Durability, ErrorKind, Transport};
use catga_redis::{Redis, RedisOptions, redis};
use support::{MAIL, PLACED, Server, numbers, parcels, publish, register, subscribe, take};

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_promise_is_told_and_strict_refuses_a_weak_one() {
    let server = Server::durable().await;
    let redis = Redis::connect(server.options().strict(true)).await.unwrap();
    assert_eq!((redis.promise().durable, redis.capabilities().durable), (Durability::Disk, Durability::Disk));
    assert!(redis.promise().dangers.is_empty());
    for (settings, danger) in [
        (&["--appendonly", "no"][..], "appendonly no"),
        (&["--appendonly", "yes", "--appendfsync", "everysec"], "everysec"),
        (&["--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "allkeys-lru"], "allkeys-lru"),
    ] {
        let server = Server::start(settings).await;
        let redis = server.redis().await;
        assert_eq!(redis.capabilities().durable, Durability::Process);
        assert!(redis.promise().to_string().contains(danger), "{}", redis.promise());
        let error = Redis::connect(server.options().strict(true)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains(danger), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acl_user_needs_no_more_than_its_namespace() {
    let server = Server::fast().await;
    let mut raw = server.raw().await.unwrap();
    let mut user = redis::cmd("ACL");
    user.arg("SETUSER").arg("shop").arg("on").arg(">s3cret").arg("~catga:{shop}*").arg("+@all").arg("-@admin");
    user.query_async::<()>(&mut raw).await.unwrap();
    let url = format!("redis://shop:s3cret@127.0.0.1:{}/0?namespace=shop", server.port());
    let redis = Redis::open(&url).await.unwrap();
    assert!(redis.promise().dangers.iter().any(|danger| danger.contains("does not tell")), "CONFIG is not for it");
    register(&redis, MAIL, &[PLACED]).await;
    publish(&redis, &parcels(0..5)).await;
    let mut mail = subscribe(&redis, MAIL).await;
    assert_eq!(numbers(&take(&mut mail, 5).await), [0, 1, 2, 3, 4]);
    let strict = Redis::open(&format!("{url}&strict=true")).await.unwrap_err();
    assert_eq!(strict.kind(), ErrorKind::Invalid);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_never_printed() {
    const SECRET: &str = "hunter2-hunter2";
    let server = Server::fast().await;
    let mut told = Vec::new();
    let wrong = format!("redis://shop:{SECRET}@127.0.0.1:{}/0", server.port());
    told.push(format!("{:?}", RedisOptions::from_url(&wrong).unwrap()));
    let error = Redis::open(&wrong).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    told.push(format!("{error} {error:?} {error:#}"));
    for broken in [
        format!("redis://shop:{SECRET}@127.0.0.1:notaport/0"),
        format!("http://shop:{SECRET}@127.0.0.1/0"),
        format!("redis://shop:{SECRET}@127.0.0.1/0?colour=blue"),
        format!("redis://shop:{SECRET}@127.0.0.1/0?lease_ms=soon"),
        format!("redis://shop:{SECRET}@127.0.0.1/0?lease_ms=1"),
        format!("redis://shop:{SECRET}@127.0.0.1/0?namespace=a{{b"),
    ] {
        let error = RedisOptions::from_url(&broken).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        told.push(format!("{error:?} {error:#}"));
    }
    told.push(format!("{:?}", server.redis().await));
    assert!(told.iter().all(|text| !text.contains(SECRET)), "{told:#?}");
    assert!(!format!("{:?}", server.redis().await).contains(&server.url()));
}

#[cfg(not(feature = "tls"))]
#[test]
fn tls_without_its_feature_says_what_to_do() {
    let error = RedisOptions::from_url("rediss://localhost").unwrap_err();
    assert!(error.to_string().contains("feature `tls`"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_unavailable() {
    let mut server = Server::fast().await;
    let options = server.options();
    server.kill();
    assert_eq!(Redis::connect(options).await.unwrap_err().kind(), ErrorKind::Unavailable);
}
