//! Savepoints keep and undo what was written in them, however they are nested and whatever was written before.
#![allow(clippy::unwrap_used)]

mod common;

use catga::{Entry, InboxKey, UnitOfWork};
use common::*;

/// What must be there: the rows and the marks of each open savepoint.
type Level = (Vec<i64>, Vec<i64>);

#[tokio::test]
async fn any_nesting_of_savepoints_keeps_and_undoes_what_a_model_does() {
    let store = temporary().await;
    let mut chance = 0x2545_F491_4F6C_DD1D_u64;
    let mut below = move |bound: u64| {
        chance ^= chance << 13;
        chance ^= chance >> 7;
        chance ^= chance << 17;
        chance % bound
    };
    let (mut model, mut number): (Level, i64) = (Level::default(), 0);
    for round in 0..1_000 {
        let mut tx = store.begin().await.unwrap();
        let mut open: Vec<(catga_contract::Savepoint, Level)> = Vec::new();
        let mut base = Level::default();
        for _ in 0..below(50) {
            number += 1;
            let depth = open.len();
            let level = open.last_mut().map_or(&mut base, |(_, level)| level);
            match below(6) {
                0 | 1 if depth < 5 => {
                    open.push((store.savepoint(&mut tx).await.unwrap(), Level::default()));
                }
                2 => {
                    tx.execute("INSERT INTO orders (id) VALUES (?1)", [number]).unwrap();
                    level.0.push(number);
                }
                3 => {
                    let key = i128::from(number).to_be_bytes();
                    let key = InboxKey { consumer: "shop.mail", key: &key };
                    assert!(matches!(store.enter(&mut tx, key).await.unwrap(), Entry::New));
                    level.1.push(number);
                }
                choice => {
                    let Some((savepoint, level)) = open.pop() else { continue };
                    let keep = choice == 4;
                    store.release(&mut tx, savepoint, keep).await.unwrap();
                    if keep {
                        let around = open.last_mut().map_or(&mut base, |(_, level)| level);
                        around.0.extend(level.0);
                        around.1.extend(level.1);
                    }
                }
            }
        }
        // One that is left open ends with the one around it.
        let undone = open.first().is_some_and(|_| below(2) == 0);
        if let Some((savepoint, _)) = open.first() {
            store.release(&mut tx, *savepoint, !undone).await.unwrap();
        }
        for (_, level) in open.into_iter().filter(|_| !undone) {
            base.0.extend(level.0);
            base.1.extend(level.1);
        }
        store.commit(tx).await.unwrap();
        model.0.extend(base.0);
        model.1.extend(base.1);
        if round % 50 != 49 {
            continue;
        }
        model.0.sort_unstable();
        model.1.sort_unstable();
        assert_eq!(numbers(&store, "SELECT id FROM orders ORDER BY id"), model.0, "round {round}");
        let marks: Vec<Vec<u8>> = store
            .read(|db| db.prepare("SELECT id FROM catga_inbox ORDER BY id")?.query_map((), |row| row.get(0))?.collect())
            .unwrap();
        let marks: Vec<i64> = marks.iter().map(|id| i128::from_be_bytes(id[..].try_into().unwrap()) as i64).collect();
        assert_eq!(marks, model.1, "round {round}");
    }
    assert!(model.0.len() > 100 && model.1.len() > 100, "most rounds write something");
}
