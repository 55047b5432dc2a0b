//! One read sees all of a commit or nothing of it, also where it goes over several series.

use super::*;
use crate::series::Value;
use crate::series::coverage::CoverageQuery;

/// Commits while others read.
const COMMITS: i64 = 200;

/// What several readers see of one number while another thread counts it up by commits: nobody sees two at once.
fn read_while_commits_are_made(layer: &Arc<DataLayer>, read: impl Fn(&DataLayer) -> Vec<i64> + Sync) {
    layer.commit(&OP, &commit(1)).unwrap();
    let over = AtomicBool::new(false);
    let torn = std::thread::scope(|scope| {
        let look = || {
            let (mut torn, mut looks, mut newest) = (Vec::new(), 0_u64, 0);
            while !over.load(Ordering::SeqCst) {
                let found = read(layer);
                assert_eq!(found.len(), 2, "{found:?}");
                if found[0] != found[1] || found[0] < newest {
                    torn.push((newest, found.clone()));
                }
                newest = found[0].max(found[1]);
                looks += 1;
            }
            (torn, looks)
        };
        let readers: Vec<_> = (0..2).map(|_| scope.spawn(look)).collect();
        let ends = Ends(&over);
        for n in 2..=COMMITS {
            layer.commit(&OP, &Commit { series: commit(n).series, ..Commit::default() }).unwrap();
        }
        drop(ends);
        let all = readers.into_iter().map(|r| r.join().unwrap());
        all.fold(Vec::new(), |mut sum, (torn, looks)| {
            assert!(looks > 20, "{looks}");
            sum.extend(torn);
            sum
        })
    });
    assert!(torn.is_empty(), "{} of them, such as {:?}", torn.len(), torn[0]);
}

fn whole(value: Option<Value>) -> i64 {
    match value {
        Some(Value::Integer(n)) => n,
        other => panic!("{other:?}"),
    }
}

fn both(text: &str) -> Query {
    crate::series::query::text::parse(text).unwrap()
}

/// The values of one column of an answer that comes batch by batch.
fn answer(layer: &DataLayer, query: &Query, column: &str) -> Vec<i64> {
    let mut found = Vec::new();
    let take = &mut |frame: crate::series::Frame| {
        let column = frame.column(column).unwrap();
        found.extend((0..frame.len()).map(|row| whole(column.get(row))));
        Ok(())
    };
    layer.series().query_into(&OP, query, &Budget::default(), take).unwrap();
    found
}

#[test]
fn a_question_over_several_series() {
    let dir = tempfile::tempdir().unwrap();
    let layer = layer(dir.path());
    let asked = both("SELECT n FROM \"signal.*\"");
    read_while_commits_are_made(&layer, |layer| answer(layer, &asked, "n"));
}

#[test]
fn the_newest_rows_first() {
    let dir = tempfile::tempdir().unwrap();
    let layer = layer(dir.path());
    let asked = both("SELECT n FROM \"signal.*\" ORDER BY time DESC LIMIT 2");
    read_while_commits_are_made(&layer, |layer| answer(layer, &asked, "n"));
}

#[test]
fn an_answer_that_is_held() {
    let dir = tempfile::tempdir().unwrap();
    let layer = layer(dir.path());
    let asked = both("SELECT n FROM \"signal.*\"");
    read_while_commits_are_made(&layer, |layer| {
        let table = layer.series().query(&OP, &asked, &Budget::default()).unwrap();
        let column = table.column("n").unwrap();
        (0..table.rows()).map(|row| whole(column.get(row))).collect()
    });
}

#[test]
fn the_latest_values() {
    let dir = tempfile::tempdir().unwrap();
    let layer = layer(dir.path());
    let of = Selector { measurement: Some("signal.*".into()), ..Selector::default() };
    read_while_commits_are_made(&layer, |layer| {
        let latest = layer.series().latest(&OP, &of, None, &Budget::default()).unwrap();
        latest.into_iter().map(|l| whole(Some(l.fields[0].value.clone()))).collect()
    });
}

/// Each commit adds a row to both series.
#[test]
fn lists_and_coverage_count_alike() {
    let dir = tempfile::tempdir().unwrap();
    let layer = layer(dir.path());
    let more = |n: i64| Commit {
        series: vec![CommitRows {
            bucket: None,
            lines: format!("signal.pullback n=1i {n}\nsignal.other n=1i {n}"),
            precision: crate::series::line_protocol::Precision::Ns,
        }],
        ..Commit::default()
    };
    layer.commit(&OP, &more(1)).unwrap();
    let over = AtomicBool::new(false);
    let of = Selector { measurement: Some("signal.*".into()), ..Selector::default() };
    std::thread::scope(|scope| {
        fn alike(what: &str, rows: Vec<u64>) {
            assert!(rows.len() == 2 && rows[0] == rows[1], "{what}: {rows:?}");
        }
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                let list = layer.series().list(&OP, &of).unwrap();
                alike("list", list.iter().map(|info| info.rows).collect());
                let asked = CoverageQuery {
                    measurement: of.measurement.clone(),
                    every: Some("1h".into()),
                    ..CoverageQuery::default()
                };
                let coverage = layer.series().coverage(&OP, &asked, &Budget::default()).unwrap();
                alike("coverage", coverage.iter().map(|c| c.rows).collect());
            }
        });
        let _ends = Ends(&over);
        for n in 2..=COMMITS {
            layer.commit(&OP, &more(n)).unwrap();
        }
    });
    assert_eq!(layer.series().list(&OP, &of).unwrap()[0].rows, COMMITS as u64);
}
