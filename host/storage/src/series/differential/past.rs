//! Revisions in front of every engine: what is read as of a time that has passed is what the model held then.

use super::answers::{self, Answer};
use super::questions::Question;
use super::workload::{Step, World, with_decimals};
use super::{FRAME_ROWS, STEPS, Tally, open, rounds, shown};
use crate::series::model_engine::ModelEngine;
use crate::series::revisions::Recorder;
use crate::series::revisions::tests::{recorder_of, tick};
use crate::series::{Frame, SeriesEngine};
use crate::testing::random::Random;
use std::path::Path;
use std::sync::Arc;

/// Questions after each step, each as of a time.
const QUESTIONS: usize = 6;

/// One round. `others` are engines whose bucket is new; the embedded one is opened again on the way.
pub(super) fn round(
    seed: u64,
    bucket: &str,
    path: &Path,
    other: Option<Arc<dyn SeriesEngine>>,
    tally: &mut Tally,
) {
    let mut random = Random::new(seed ^ 0x0070_6173_7400);
    let world = World::new(&mut random, bucket);
    let model: Arc<dyn SeriesEngine> = Arc::new(ModelEngine::with_frame_rows(FRAME_ROWS));
    let plain = ModelEngine::with_frame_rows(FRAME_ROWS);
    let embedded = || recorder_of(Arc::new(open(path)), bucket);
    let mut all: Vec<Arc<Recorder>> = vec![embedded(), recorder_of(model, bucket)];
    all.extend(other.map(|engine| recorder_of(engine, bucket)));
    // Each state that there was, the time as of which it is asked for, and the engine that held it.
    let mut states: Vec<(i64, ModelEngine)> = Vec::new();
    let mut done: Vec<Step> = Vec::new();
    for at in 0..STEPS {
        let step = if at == 0 { world.begin(&mut random) } else { world.step(&mut random) };
        let again = format!("after step {at} ({}) of seed {seed}", shown(&step, 200));
        if matches!(step, Step::Reopen) {
            all.remove(0);
            all.insert(0, embedded());
        }
        let wanted = step.apply(&plain);
        for recorder in &all {
            let got = step.apply(with_decimals(recorder.clone(), bucket).as_ref());
            assert!(got.same_effect(&wanted), "{again}, with revisions:\n{got:?}\n  not\n{wanted:?}");
        }
        done.push(step);
        let then = ModelEngine::with_frame_rows(FRAME_ROWS);
        done.iter().for_each(|step| drop(step.apply(&then)));
        let time = all.iter().map(|r| tick(r)).max().unwrap_or_default();
        states.push((time, then));
        for _ in 0..QUESTIONS {
            let question = world.question(&mut random);
            if matches!(question, Question::List(_)) {
                // As of a time a list is an upper bound.
                continue;
            }
            let (time, then) = random.pick(&states).unwrap();
            let wanted = bare(question.ask(then));
            tally.note(&wanted);
            for recorder in &all {
                let known = recorder.as_known_at(*time).unwrap();
                let got = bare(question.ask(with_decimals(known, bucket).as_ref()));
                if is_bound(&wanted) {
                    continue;
                }
                if let Err(why) = answers::same(&question, &got, &wanted, false, false) {
                    let name = recorder.capabilities().name;
                    let (got, wanted) = (shown(&got, 4_000), shown(&wanted, 4_000));
                    panic!(
                        "{name} as of {time} differs {again}: {why}\n{question:?}\ngot\n{got}\nnot\n{wanted}"
                    );
                }
            }
        }
    }
}

/// Fields and series that came later are known of too: a table may have columns without a value for them.
fn bare(answer: Answer) -> Answer {
    match answer {
        Answer::Table(Frame { times, columns }, more) => {
            let columns = columns.into_iter().filter(|c| (0..times.len()).any(|row| c.is_valid(row)));
            Answer::Table(Frame { columns: columns.collect(), times }, more)
        }
        Answer::Coverage(all) => Answer::Coverage(all.into_iter().filter(|c| c.rows > 0).collect()),
        other => other,
    }
}

/// A refusal of what was not there then, and is there as of that time without a value.
fn is_bound(wanted: &Answer) -> bool {
    matches!(wanted, Answer::Refused(..))
}

#[test]
fn every_engine_answers_as_it_was_known() {
    let mut tally = Tally::default();
    for seed in rounds(30) {
        let dir = tempfile::tempdir().unwrap();
        round(seed, "market", &dir.path().join("series.db"), None, &mut tally);
    }
    tally.check();
}
