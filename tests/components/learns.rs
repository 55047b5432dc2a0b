//! Not hostile: each run loads what it knew, and commits the next of everything at once — a version of a skill, what it achieved, a
//! model, a setting, a signal, and the checkpoint that it goes on from. `spoil` of its configuration makes one part of it wrong.

use hostile::commits::{
    self, ExpectSkill, NewFile, NewSkill, Performance, Provenance, Rows, Setting, Status, UnitOfWork,
};
use hostile::shiphold::host::state_types::{Expect, NewCheckpoint};
use hostile::{Column, Cursor, Error, Frame, Guest, PlanResult, Values, done, key, log, number, state};

/// The name of all that it learns.
const NAME: &str = "learned";
/// Numbers in a large checkpoint: more than the database keeps.
const LARGE: usize = 20_000;

struct Learns;

impl Guest for Learns {
    fn plan(_cursor: Cursor, _now: i64) -> Result<PlanResult, Error> {
        let (known, expect) = match state::load(NAME, None)? {
            None => (0, Expect::Absent),
            Some(there) => (read(&there.content)?, Expect::Revision(there.checkpoint.revision)),
        };
        let made = commits::make(&unit(known + 1, expect))?;
        log::write(log::Level::Info, &format!("commit {} made {}", made.id, known + 1));
        done(Vec::new())
    }
}

/// The number of which a checkpoint is full.
fn read(content: &[u8]) -> Result<u64, Error> {
    let text = std::str::from_utf8(content).unwrap_or_default();
    let mut numbers = text.split_whitespace().map(str::parse);
    match numbers.next() {
        Some(Ok(n)) if numbers.all(|other| other == Ok(n)) => Ok(n),
        _ => Err(Error::Invalid("the checkpoint is torn".into())),
    }
}

/// The n-th of everything.
fn unit(n: u64, expect: Expect) -> UnitOfWork {
    let spoil = number("spoil").unwrap_or(0);
    let values = match spoil {
        1 => Values::Strings(vec!["of another type".into()]),
        _ => Values::Integers(vec![n as i64]),
    };
    let column = Column { name: "n".into(), values, valid: Vec::new() };
    UnitOfWork {
        idempotency_key: Some(format!("{NAME}-{n}-{spoil}")),
        skills: vec![NewSkill {
            name: NAME.into(),
            version: Some(format!("0.0.{n}")),
            language: "python".into(),
            code: format!("# {n}"),
            description: String::new(),
            tags: vec![NAME.into()],
            metadata: Some(format!("{{\"n\":{n}}}")),
            depends: Vec::new(),
            status: Some(Status::Draft),
            provenance: Provenance {
                author: None,
                parent: None,
                prompt: None,
                run: Some(format!("turn {n}")),
            },
            expect: ExpectSkill::Any,
        }],
        performance: vec![Performance {
            skill: NAME.into(),
            version: None,
            period_start: 0,
            period_end: 1,
            returns: 0.1,
            sharpe: 1.0,
            win_rate: if spoil == 2 { 2.0 } else { 0.5 },
            max_drawdown: 0.1,
            samples: n,
        }],
        files: vec![NewFile {
            store: "models".into(),
            path: if spoil == 3 { "other/model".into() } else { format!("{NAME}/model") },
            content: format!("weights {n}").into_bytes(),
            media_type: None,
            metadata: None,
            expect: Expect::Any,
        }],
        settings: vec![Setting {
            namespace: if spoil == 4 { "system".into() } else { "live".into() },
            key: NAME.into(),
            value: Some(n.to_string()),
            expect: Expect::Any,
        }],
        series: vec![Rows {
            key: key("market", if spoil == 5 { "bar.1d.A" } else { "signal.learned" }),
            frame: Frame { times: vec![n as i64], columns: vec![column] },
        }],
        state: vec![NewCheckpoint {
            strategy: if spoil == 6 { "other".into() } else { NAME.into() },
            content: format!("{n} ").repeat(if n.is_multiple_of(2) { LARGE } else { 1 }).into_bytes(),
            media_type: Some("text/plain".into()),
            metadata: None,
            expect: if spoil == 7 { Expect::Revision(99) } else { expect },
        }],
    }
}

hostile::export!(Learns);
