//! What an application counts, and how that is written for Prometheus.
#![allow(clippy::unwrap_used)]

mod common;

use catga::{Codec, Envelope, Error, Event, Json, MessageId, Metrics, Parcel, Str, Transport, sqlite::Sqlite};
use common::*;
use std::collections::{BTreeMap, BTreeSet};

const SENT: &str = "messaging.client.sent.messages";
const CONSUMED: &str = "messaging.client.consumed.messages";
const PROCESS: &str = "messaging.process.duration";
const OPERATION: &str = "messaging.client.operation.duration";
const MAIL: (&str, &str) = ("messaging.consumer.group.name", "shop.mail");
const PLACED: (&str, &str) = ("messaging.destination.name", "catga.orders.placed");

/// A parcel of an event, to be published as often as one likes.
fn parcel(id: u64) -> Parcel {
    let mut payload = Vec::new();
    Json::encode(&Placed { id }, &mut payload).unwrap();
    let (id, name) = (MessageId::new(), Str::from_static("orders.placed"));
    let envelope = Envelope::new(id, name, Str::from_static("json"), payload.into());
    Parcel::new(PLACED.1.into(), id, envelope.encode().unwrap().into())
}

/// Commits three messages, one of them at its second try; buries one; and gets one that it has handled already.
async fn scenario(store: &Sqlite) -> (catga::App, Metrics) {
    let script = Script::new(|id, attempt, _| match (id, attempt) {
        (2, 1) => Err(Error::new(catga::ErrorKind::Handler, "not yet")),
        (4, _) => Err(Error::permanent("never")),
        _ => Ok(()),
    });
    let app = shop(store, script).backoff(quick(5)).build().await.unwrap();
    app.send(Place(1)).await.unwrap().unwrap();
    app.send(Place(2)).await.unwrap().unwrap();
    let before = app.metrics().await;
    app.publish(Placed { id: 4 }).await.unwrap();
    let twice = parcel(3);
    store.publish(&[twice.clone(), twice], &mut Vec::new()).await.unwrap();
    app.run_until_idle().await.unwrap();
    assert_eq!(numbers(store, "SELECT order_id FROM mails ORDER BY order_id"), [1, 2, 3]);
    (app, before)
}

#[tokio::test]
async fn every_outcome_is_counted() {
    let store = temporary().await;
    let (app, before) = scenario(&store).await;
    assert_eq!(before.count("catga.outbox.pending", &[]), 2);
    assert_eq!(before.count(SENT, &[]) + before.count(CONSUMED, &[]) + before.count(PROCESS, &[]), 0);

    let now = app.metrics().await;
    assert_eq!(now.count("catga.outbox.pending", &[("catga.store", std::any::type_name::<Sqlite>())]), 0);
    assert_eq!(now.count(SENT, &[PLACED, ("error.type", "")]), 3, "two by the relay, one by `publish`");
    assert_eq!(now.count(SENT, &[]), 3);
    let consumed = |error| now.count(CONSUMED, &[MAIL, PLACED, ("error.type", error)]);
    assert_eq!([consumed(""), consumed("handler"), consumed("permanent")], [3 + 1, 1, 1]);
    assert_eq!(now.count(CONSUMED, &[]), 6);
    assert_eq!(now.count("catga.inbox.duplicates", &[MAIL, PLACED]), 1);
    assert_eq!(now.count("catga.dlq.buried", &[MAIL, PLACED]), 1);
    let called = |error| now.count(PROCESS, &[MAIL, PLACED, ("error.type", error)]);
    assert_eq!([called(""), called("handler"), called("permanent")], [3, 1, 1]);
    assert_eq!(now.count(PROCESS, &[]), 5, "what was handled already is not called again");
    let sends = now.count(OPERATION, &[("messaging.operation.name", "send"), ("error.type", "")]);
    assert!((2..=3).contains(&sends), "the relay carries one batch or two: {now}");
    let settled = now.count(OPERATION, &[("messaging.operation.name", "settle"), ("error.type", "")]);
    assert!((1..=6).contains(&settled), "{now}");
    assert!(now.to_string().contains("messaging.client.sent.messages messaging.operation.name=send"), "{now}");
    assert_eq!(before.count("catga.outbox.pending", &[]), 2, "a snapshot stays as it was");
}

#[tokio::test]
async fn what_cannot_be_read_is_buried_and_counted() {
    let store = temporary().await;
    let app = shop(&store, Script::fine()).build().await.unwrap();
    let garbage = Parcel::new(PLACED.1.into(), MessageId::new(), "no frame".into());
    store.publish(&[garbage], &mut Vec::new()).await.unwrap();
    app.run_until_idle().await.unwrap();
    let now = app.metrics().await;
    let nowhere = ("messaging.destination.name", "");
    assert_eq!(now.count(CONSUMED, &[MAIL, nowhere, ("error.type", "codec")]), 1);
    assert_eq!((now.count("catga.dlq.buried", &[MAIL, nowhere]), now.count(PROCESS, &[])), (1, 0));
}

#[tokio::test]
async fn what_is_refused_is_counted_by_its_error() {
    #[derive(Event, Clone, serde::Serialize, serde::Deserialize)]
    #[catga(name = "large")]
    struct Large(String);
    let store = temporary().await;
    let app = shop(&store, Script::fine()).build().await.unwrap();
    app.publish(Large("x".repeat(16 * 1024 * 1024))).await.unwrap_err();
    let refused = [("messaging.destination.name", "catga.large"), ("error.type", "invalid")];
    let now = app.metrics().await;
    assert_eq!((now.count(SENT, &refused), now.count(SENT, &[])), (1, 1));
    assert_eq!(now.count(OPERATION, &[("messaging.operation.name", "send"), refused[1]]), 1);
}

/// One line `name{labels} value` of Prometheus's text, checked character by character.
fn sample(line: &str) -> (String, BTreeMap<String, String>, f64) {
    let plain = |text: &str| {
        let mut all = text.chars();
        all.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
            && all.all(|other| other.is_ascii_alphanumeric() || other == '_')
    };
    let (name, rest) = line.split_once('{').unwrap();
    assert!(plain(name), "{line}");
    let (mut labels, mut rest) = (BTreeMap::new(), rest);
    loop {
        let (label, after) = rest.split_once("=\"").unwrap();
        assert!(plain(label), "{line}");
        let (mut value, mut after) = (String::new(), after.chars());
        loop {
            match after.next().unwrap() {
                '"' => break,
                '\\' => value.push(match after.next().unwrap() {
                    'n' => '\n',
                    other @ ('\\' | '"') => other,
                    other => panic!("\\{other} in {line}"),
                }),
                other => value.push(other),
            }
        }
        assert!(!value.is_empty() && labels.insert(label.to_owned(), value).is_none(), "{line}");
        rest = after.as_str();
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None => break,
        }
    }
    (name.to_owned(), labels, rest.strip_prefix("} ").unwrap().parse().unwrap())
}

#[tokio::test]
async fn prometheus_can_read_it() {
    let store = temporary().await;
    let (app, _) = scenario(&store).await;
    let text = app.metrics().await.to_prometheus();
    assert!(text.ends_with('\n'));
    let (mut families, mut seen, mut total) = (BTreeMap::new(), BTreeSet::new(), 0.0);
    let mut buckets: Vec<f64> = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let (family, help) = line.strip_prefix("# HELP ").unwrap().split_once(' ').unwrap();
        assert!(!help.is_empty());
        let kind = lines.next().unwrap().strip_prefix(&format!("# TYPE {family} ")).unwrap();
        assert!(families.insert(family, kind).is_none(), "`{family}` is told twice");
        while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
            let (name, labels, value) = sample(line);
            assert!(seen.insert((name.clone(), labels.clone())), "twice: {line}");
            match (kind, name.strip_prefix(family).unwrap()) {
                ("counter", "") => assert!(family.ends_with("_total") && value.fract() == 0.0, "{line}"),
                ("gauge", "") => {}
                ("histogram", "_bucket") => {
                    assert!(value >= buckets.last().copied().unwrap_or_default(), "buckets add up: {line}");
                    let bounds = "0.005 0.01 0.025 0.05 0.075 0.1 0.25 0.5 0.75 1 2.5 5 7.5 10 +Inf"
                        .split(' ')
                        .nth(buckets.len());
                    assert_eq!(labels.get("le").map(String::as_str), bounds);
                    buckets.push(value);
                }
                ("histogram", "_sum") => assert!((0.0..60.0).contains(&value), "{line}"),
                ("histogram", "_count") => {
                    assert_eq!((buckets.len(), buckets.pop()), (15, Some(value)), "{line}");
                    buckets.clear();
                    total += if family == "messaging_process_duration_seconds" { value } else { 0.0 };
                }
                (kind, ending) => panic!("{kind} with `{ending}`: {line}"),
            }
        }
    }
    let expected = [
        ("catga_dlq_buried_total", "counter"),
        ("catga_inbox_duplicates_total", "counter"),
        ("catga_outbox_pending", "gauge"),
        ("messaging_client_consumed_messages_total", "counter"),
        ("messaging_client_operation_duration_seconds", "histogram"),
        ("messaging_client_sent_messages_total", "counter"),
        ("messaging_process_duration_seconds", "histogram"),
    ];
    assert_eq!(families.into_iter().collect::<Vec<_>>(), expected);
    assert!((total - 5.0).abs() < 1e-9, "five calls");
}
