//! Queries as JSON that nobody would write, asked of a few rows.

use super::workload::World;
use crate::series::Budget;
use crate::series::model_engine::ModelEngine;
use crate::series::query::{Query, execute, execute_into};
use crate::testing::fuzz::{mutated, run};
use crate::testing::random::Random;
use serde_json::Value;

const ROWS_MAX: u64 = 500;

/// Values that a key may get in place of its own.
fn strange(random: &mut Random) -> Value {
    let all = [
        r"null",
        r"0",
        r"-1",
        r"1e300",
        r"9223372036854775807",
        r"-9223372036854775808",
        r"18446744073709551616",
        r#""""#,
        r#""*""#,
        r#""0s""#,
        r#""1mo""#,
        r#""86400s""#,
        r#""(a*)*""#,
        r#""linear""#,
        r#""Etc/GMT+12""#,
        r#""9999-12-31T23:59:59.999999999Z""#,
        r#""0001-01-01""#,
        r"[]",
        r"{}",
        r"true",
    ];
    serde_json::from_str(random.pick(&all).unwrap()).unwrap()
}

/// Puts something strange somewhere into a document.
fn bend(random: &mut Random, value: &mut Value) {
    let deeper = !random.one_in(3);
    match value {
        Value::Object(map) if deeper && !map.is_empty() => {
            let at = random.below(map.len());
            if let Some(inner) = map.values_mut().nth(at) {
                bend(random, inner);
            }
        }
        Value::Array(list) if deeper && !list.is_empty() => {
            let at = random.below(list.len());
            bend(random, &mut list[at]);
        }
        other => *other = strange(random),
    }
}

#[test]
fn query() {
    run("query", |random| {
        let world = World::new(random, "market");
        let engine = ModelEngine::with_frame_rows(9);
        world.begin(random).apply(&engine);
        let one = serde_json::to_value(world.query(random)).unwrap();
        let mut changed = one.clone();
        let text = match random.below(4) {
            0 => one.to_string().into_bytes(),
            1 => {
                let other = serde_json::to_string(&world.query(random)).unwrap();
                mutated(random, one.to_string().as_bytes(), other.as_bytes())
            }
            _ => {
                (0..1 + random.below(3)).for_each(|_| bend(random, &mut changed));
                changed.to_string().into_bytes()
            }
        };
        let Ok(query) = serde_json::from_slice::<Query>(&text) else { return false };
        let again = serde_json::to_vec(&query).unwrap();
        assert_eq!(serde_json::from_slice::<Query>(&again).unwrap(), query, "it reads as it was written");
        if query.as_known_at.is_some() {
            // The revisions answer it, which stand in front of the engine.
            return false;
        }
        let budget = Budget::default();
        let whole = execute(&engine, &query, &budget, ROWS_MAX);
        let mut rows = 0;
        let parts = execute_into(&engine, &query, &budget, ROWS_MAX, &mut |frame| {
            frame.validate()?;
            rows += frame.len();
            Ok(())
        });
        match (whole, parts) {
            (Ok(table), Ok(done)) => {
                assert_eq!((table.rows(), table.truncated), (rows, done.truncated));
                assert!(table.rows() as u64 <= ROWS_MAX);
                true
            }
            (Err(a), Err(b)) => {
                assert_eq!((a.kind(), a.message()), (b.kind(), b.message()));
                let wrong = [crate::Kind::Internal, crate::Kind::Corrupt, crate::Kind::Io];
                assert!(!wrong.contains(&a.kind()), "{a:?}");
                false
            }
            (a, b) => panic!("whole {a:?}, in parts {b:?}"),
        }
    });
}
