//! The same random workload to several engines, and every kind of question to all of them: their answers are equal.
//!
//! The model engine is what the others are compared with. Rows, times, names, types, orders, errors and what is counted are
//! equal to the bit; aggregates of floats to [`answers::TOLERANCE`], but with InfluxDB to the bit, too. A round is made by its seed alone: a failure names it, and
//! `SHIPHOLD_SOAK_SEED` begins with it. `cargo xtask soak engines` runs as many rounds as one wants.
//!
//! The model has decimals of its own; the others have them from `series/decimals/`, which stands before them.
//!
//! A question is a [`questions::Question`]: what a new kind of query needs is a variant there, and how it is asked.

mod answers;
mod archived;
mod fuzz;
mod influxd;
mod past;
mod questions;
mod workload;

use super::SeriesEngine;
use super::embedded::{EmbeddedEngine, EngineOptions};
use super::model_engine::ModelEngine;
use crate::manifest;
use crate::testing::random::{Random, number};
use crate::units::{ByteSize, Span};
use answers::Answer;
use std::path::Path;
use std::sync::Arc;
use workload::{Step, World};

/// Steps of one round.
const STEPS: usize = 14;
/// Questions after each step, and after the last one.
const QUESTIONS: usize = 6;
const QUESTIONS_LAST: usize = 40;
/// Where the rounds of the test command begin.
const SEED: u64 = 20_261_126;
/// Rows of the model's frames: so few that windows cross their ends.
const FRAME_ROWS: usize = 7;

/// What is compared with the model.
struct Compared<'a> {
    engine: &'a dyn SeriesEngine,
    /// Its rows are counted; else they are an upper bound until it is compacted.
    counts: bool,
    /// It adds in the order of the rows: its sums are equal to the bit.
    bits: bool,
}

/// How many answers had something in them, were empty, and were refusals; and how many windows an engine summed up itself.
#[derive(Debug, Default)]
struct Tally {
    answers: [u64; 3],
    summed_up: u64,
}

impl Tally {
    fn note(&mut self, answer: &Answer) {
        let [full, empty, refused] = &mut self.answers;
        *match answer {
            Answer::Refused(..) => refused,
            answer if answer.is_empty() => empty,
            _ => full,
        } += 1;
    }

    /// Where nearly nothing is answered, nothing is compared: three questions of five have an answer. Joins and order books are
    /// refused more often than plain rows, for their fields have other types now and then.
    fn check(&self) {
        let [full, empty, refused] = self.answers;
        assert!(2 * full > 3 * (empty + refused), "few questions had an answer: {self:?}");
        assert!(refused > 0, "no refusal was compared: {self:?}");
    }
}

/// One round: `bucket` is its own.
fn round(
    seed: u64,
    bucket: &str,
    others: &[Compared<'_>],
    reopen: &mut dyn FnMut() -> Option<EmbeddedEngine>,
    tally: &mut Tally,
) {
    let mut random = Random::new(seed);
    let model = ModelEngine::with_frame_rows(FRAME_ROWS);
    let world = World::new(&mut random, bucket);
    // The embedded engine is opened again in the middle of a round.
    let over = |engine: EmbeddedEngine| workload::with_decimals(Arc::new(engine), bucket);
    let mut embedded = reopen().map(over);
    for at in 0..=STEPS {
        let last = at == STEPS;
        let step = match at {
            0 => world.begin(&mut random),
            STEPS => Step::Settle,
            _ => world.step(&mut random),
        };
        let place = |engine: &dyn SeriesEngine| {
            format!(
                "{} differs after step {at} ({}) of seed {seed}; again: `cargo xtask soak engines --rounds 1 --seed {seed}`",
                engine.capabilities().name,
                shown(&step, 200),
            )
        };
        if matches!(step, Step::Reopen) {
            embedded = embedded.take().and_then(|e| {
                drop(e);
                reopen().map(over)
            });
        }
        let own = embedded.as_ref().map(|e| Compared { engine: e.as_ref(), counts: false, bits: false });
        let all: Vec<&Compared<'_>> = own.iter().chain(others).collect();
        let wanted = step.apply(&model);
        for other in &all {
            let got = step.apply(other.engine);
            assert!(got.same_effect(&wanted), "{}:\n{got:?}\n  not\n{wanted:?}", place(other.engine));
        }
        for _ in 0..if last { QUESTIONS_LAST } else { QUESTIONS } {
            let question = world.question(&mut random);
            let wanted = question.ask(&model);
            tally.note(&wanted);
            for other in &all {
                let got = question.ask(other.engine);
                if let Err(why) = answers::same(&question, &got, &wanted, other.counts || last, other.bits) {
                    let (got, wanted) = (shown(&got, 4_000), shown(&wanted, 4_000));
                    panic!("{}: {why}\n{question:?}\ngot\n{got}\nnot\n{wanted}", place(other.engine));
                }
                if last {
                    tally.summed_up += question.summed_up(other.engine);
                }
            }
        }
    }
}

/// The beginning of what `Debug` says.
fn shown(what: &impl std::fmt::Debug, chars: usize) -> String {
    format!("{what:?}").chars().take(chars).collect()
}

fn settings() -> manifest::Embedded {
    // So little that a few rows make many chunks, and that sealing happens in the middle.
    manifest::Embedded {
        memory_max: ByteSize::mib(16),
        head_max: ByteSize::kib(8),
        chunk_rows: 16,
        seal_after: Span::from_secs(300),
        compact_every: Span::from_millis(1),
        // A few chunks, so that some are found and some are not.
        cache_max: ByteSize::kib(4),
    }
}

fn open(path: &Path) -> EmbeddedEngine {
    // The disk's part is tested elsewhere.
    let options = EngineOptions { synchronous: crate::sqlite::Synchronous::Off, ..EngineOptions::default() };
    EmbeddedEngine::open(path, &settings(), options).unwrap()
}

/// Rounds from the seed of the environment on.
fn rounds(default: u64) -> impl Iterator<Item = u64> {
    let first = number("SHIPHOLD_SOAK_SEED", SEED);
    let count = number("SHIPHOLD_SOAK_ROUNDS", default);
    (0..count).map(move |n| {
        if count > default && n % 50 == 0 {
            eprintln!("{n} of {count} rounds; the next seed is {}", first.wrapping_add(n));
        }
        first.wrapping_add(n)
    })
}

#[test]
fn embedded_answers_as_the_model_does() {
    let mut tally = Tally::default();
    for seed in rounds(60) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("series.db");
        round(seed, "market", &[], &mut || Some(open(&path)), &mut tally);
    }
    tally.check();
    assert!(tally.summed_up > 0, "statistics were never used: {tally:?}");
}

/// A harness that finds nothing proves nothing: an engine that forgets a field, a row or an order is found out.
#[test]
fn an_engine_that_errs_is_found_out() {
    for (what, wrong) in workload::LIARS {
        let found = std::panic::catch_unwind(|| {
            for seed in 0..20 {
                let liar = workload::Liar { inner: ModelEngine::default(), wrong: *wrong };
                round(
                    seed,
                    "market",
                    &[Compared { engine: &liar, counts: true, bits: true }],
                    &mut || None,
                    &mut Tally::default(),
                );
            }
        });
        assert!(found.is_err(), "nobody noticed an engine with {what}");
    }
}
