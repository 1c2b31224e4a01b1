//! TLS, with certificates of the test's own.
#![cfg(feature = "tls")]
#![allow(clippy::unwrap_used)]

mod support;

use catga_contract::ErrorKind;
use catga_redis::{Redis, RedisOptions};
use std::{fs, net::TcpListener, path::Path, process::Command};
use support::{MAIL, PLACED, Server, numbers, parcels, publish, register, subscribe, take};

fn openssl(folder: &Path, line: &str) {
    let made = Command::new("openssl").args(line.split(' ')).current_dir(folder).output();
    let made = made.unwrap_or_else(|error| panic!("openssl cannot be started ({error}): apt-get install openssl"));
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_travel_by_tls_and_only_to_who_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::write(at("leaf.cnf"), "subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n").unwrap();
    let key = "-newkey rsa:2048 -nodes";
    openssl(folder.path(), &format!("req -x509 {key} -keyout ca.key -out ca.crt -days 2 -subj /CN=ca"));
    for name in ["server", "client"] {
        openssl(folder.path(), &format!("req {key} -keyout {name}.key -out {name}.csr -subj /CN={name}"));
        let sign = "-CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile leaf.cnf";
        openssl(folder.path(), &format!("x509 -req -in {name}.csr -out {name}.crt {sign}"));
    }
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let [certificate, key, root] = ["server.crt", "server.key", "ca.crt"].map(at);
    let files = ["--tls-cert-file", &certificate, "--tls-key-file", &key, "--tls-ca-cert-file", &root];
    let server = Server::start(&[&["--tls-port", &port, "--tls-auth-clients", "yes"], &files[..]].concat()).await;
    let plain = server.url();
    let secret = plain.split(['/', '@']).nth(2).unwrap();
    let options = RedisOptions::from_url(&format!("rediss://{secret}@localhost:{port}/0")).unwrap();
    let read = |name: &str| fs::read(at(name)).unwrap();
    for unknown in [options.clone(), options.clone().root_certificate(read("ca.crt"))] {
        assert_eq!(Redis::connect(unknown).await.unwrap_err().kind(), ErrorKind::Unavailable);
    }
    let known = options.root_certificate(read("ca.crt")).client_certificate(read("client.crt"), read("client.key"));
    let redis = Redis::connect(known).await.unwrap();
    register(&redis, MAIL, &[PLACED]).await;
    publish(&redis, &parcels(0..5)).await;
    let mut mail = subscribe(&redis, MAIL).await;
    assert_eq!(numbers(&take(&mut mail, 5).await), [0, 1, 2, 3, 4]);
}
