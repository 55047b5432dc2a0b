//! Archives before every engine: with old rows in files it answers as one that has all of them.

use super::answers::{self, Answer};
use super::questions::Question;
use super::workload::{Step, World, with_decimals};
use super::{FRAME_ROWS, STEPS, Tally, open, rounds, shown};
use crate::series::SeriesEngine;
use crate::series::archives::tests::Cold;
use crate::series::model_engine::ModelEngine;
use crate::testing::FaultVfs;
use crate::testing::random::Random;
use std::path::Path;
use std::sync::Arc;

const QUESTIONS: usize = 8;
const BUCKET: &str = "market";

fn over(raw: Arc<dyn SeriesEngine>, folder: &Path, memory: &Arc<FaultVfs>) -> Cold {
    Cold::quick(raw, folder, memory).with_face(|engine| with_decimals(engine, BUCKET))
}

/// One round, over the embedded engine, which is opened again on the way, and over the model.
fn round(seed: u64, folder: &Path, tally: &mut Tally) {
    let mut random = Random::new(seed ^ 0x0061_7263_6800);
    let world = World::new(&mut random, BUCKET);
    let plain = ModelEngine::with_frame_rows(FRAME_ROWS);
    let (one, other) = (folder.join("one"), folder.join("other"));
    std::fs::create_dir_all(&one).unwrap();
    std::fs::create_dir_all(&other).unwrap();
    let memory = [(); 2].map(|()| FaultVfs::new("archives-differ").unwrap());
    let embedded = || over(Arc::new(open(&folder.join("series.db"))), &one, &memory[0]);
    // Below decimals there are integers.
    let stored: Arc<dyn SeriesEngine> = Arc::new(ModelEngine::with_frame_rows(FRAME_ROWS));
    let mut all = vec![embedded(), over(stored, &other, &memory[1])];
    for at in 0..STEPS {
        let step = if at == 0 { world.begin(&mut random) } else { world.step(&mut random) };
        let again = format!("after step {at} ({}) of seed {seed}", shown(&step, 200));
        if matches!(step, Step::Reopen) {
            all.remove(0);
            all.insert(0, embedded());
        }
        let wanted = step.apply(&plain);
        for cold in &all {
            let got = step.apply(cold.engine().as_ref());
            assert!(got.same_effect(&wanted), "{again}, with archives:\n{got:?}\n  not\n{wanted:?}");
        }
        // The old half of every series, or of one; and now and then some come back.
        let key = world.one(&mut random).key.clone();
        let range = world.range(&mut random);
        for cold in &all {
            match at % 4 {
                0 => {
                    for key in world.keys() {
                        cold.archive(key, range.end).unwrap();
                    }
                }
                1 => assert!(cold.archive(&key, range.end).is_ok()),
                2 => assert!(cold.copy(&key, range.end).is_ok()),
                _ => assert!(cold.restore(&key, range).is_ok()),
            }
        }
        for _ in 0..QUESTIONS {
            let question = world.question(&mut random);
            let wanted = question.ask(&plain);
            tally.note(&wanted);
            for cold in &all {
                let engine = cold.engine();
                let got = question.ask(engine.as_ref());
                if let Err(why) = answers::same(&question, &got, &wanted, false, false) {
                    if upper_bound(&question, &got, &wanted) {
                        continue;
                    }
                    let (got, wanted) = (shown(&got, 4_000), shown(&wanted, 4_000));
                    panic!(
                        "{} with archives differs {again}: {why}\n{question:?}\ngot\n{got}\nnot\n{wanted}",
                        engine.capabilities().name
                    );
                }
                tally.summed_up += question.summed_up(engine.as_ref());
            }
        }
    }
}

/// A field may still be listed of which a deletion took the last value.
fn upper_bound(question: &Question, got: &Answer, wanted: &Answer) -> bool {
    let (Question::List(_), Answer::List(a), Answer::List(b)) = (question, got, wanted) else { return false };
    a.len() == b.len()
        && a.iter().zip(b).all(|(a, b)| {
            a.key == b.key
                && a.rows >= b.rows
                && (a.min_time, a.max_time) == (b.min_time, b.max_time)
                && b.fields.iter().all(|f| a.fields.contains(f))
        })
}

#[test]
fn an_engine_with_archives_answers_as_one_without() {
    let mut tally = Tally::default();
    for seed in rounds(8) {
        let dir = tempfile::tempdir().unwrap();
        round(seed, dir.path(), &mut tally);
    }
    tally.check();
    assert!(tally.summed_up > 0, "statistics were never used behind archives: {tally:?}");
}
