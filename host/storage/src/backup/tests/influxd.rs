//! Backups of a host over a real InfluxDB. Needs `SHIPHOLD_INFLUXD`; run by the `influxd` step of the tests.

use super::*;
use crate::series::{Column, Frame, SeriesKey, TimeRange, Value, Values, WriteBatch};
use crate::testing::influxd::Influxd;
use std::time::Duration;

/// A manifest over a server, in a folder of its own.
fn over(server: &Influxd, dir: &Path, more: &str) -> Manifest {
    std::fs::write(dir.join("token"), Influxd::TOKEN).unwrap();
    let text = format!(
        "[series]\nengine = \"influxdb2\"\n[series.influxdb2]\nurl = \"{}\"\norg = \"{}\"\ntoken = \"influx\"\n{more}\n\
         [secrets.influx]\nfile = \"token\"\n",
        server.url(),
        Influxd::ORG
    );
    crate::layer::tests::manifest(dir, &text)
}

fn key(bucket: &str, measurement: &str) -> SeriesKey {
    SeriesKey::new(bucket, measurement, vec![("city =,".into(), "São Paulo, \"SP\" a\\b".into())]).unwrap()
}

/// Rows with every type, with gaps, and with what is awkward in lines and in CSV.
fn awkward(key: &SeriesKey, rows: i64) -> WriteBatch {
    let n = rows as usize;
    let columns = vec![
        Column::float("f", (0..n).map(|i| [0.1 + 0.2, -0.0, 1e300, 5e-324, 123_456_789.0][i % 5]).collect()),
        Column::new("i =,x", Values::Integer((0..n).map(|i| [i64::MIN, i64::MAX][i % 2]).collect())),
        Column::new("u", Values::Unsigned((0..n).map(|i| u64::MAX - i as u64).collect())),
        Column {
            valid: Some((0..n).map(|i| i % 3 == 0).collect()),
            ..Column::new("b", Values::Boolean((0..n).map(|i| i % 2 == 0).collect()))
        },
        Column::new(
            "s",
            Values::String(
                (0..n).map(|i| ["", "a \"b\" \\ c", "two\nlines", "ü, =x"][i % 4].into()).collect(),
            ),
        ),
    ];
    let times = (0..rows).map(|i| i * 3_600_000_000_007 - 5_000).collect();
    WriteBatch { series: vec![(key.clone(), Frame { times, columns })] }
}

/// A host with something in each store, over a server, with two buckets.
struct Over {
    dir: tempfile::TempDir,
    manifest: Manifest,
    layer: Arc<DataLayer>,
}

impl Over {
    fn open(server: &Influxd, more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let manifest = over(server, dir.path(), more);
        let layer = DataLayer::open(&manifest).unwrap();
        Self { dir, manifest, layer }
    }
    fn filled(server: &Influxd) -> Self {
        let host = Self::open(server, "");
        host.layer.settings().set(&OP, "system", "risk.max", json!(5), Expect::Any).unwrap();
        let series = host.layer.series();
        for (bucket, rows) in [("market", 5_000), ("a b", 7)] {
            series.write(&OP, awkward(&key(bucket, "weather, or =not"), rows)).unwrap();
        }
        series.write(&OP, bars("A", (0..500).map(|i| i * MINUTE))).unwrap();
        series.engine().seal().unwrap();
        host
    }
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
    fn export(&self, name: &str) -> (PathBuf, BackupReport) {
        let to = self.path(name);
        let report = self.layer.export(&OP, &to, &mut |done, total| assert!(done <= total)).unwrap();
        (to, report)
    }
    fn names(&self) -> Vec<String> {
        let mut all: Vec<String> = std::fs::read_dir(self.dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        all.sort();
        all
    }
    /// Everything that the engine says.
    fn answers(&self) -> Answers {
        let engine = self.layer.series().engine();
        let list = engine.list(&Selector::default()).unwrap();
        let all = list.into_iter().map(|info| {
            let stream = engine.scan(&info.key, TimeRange::ALL, None, &crate::series::Budget::default());
            let rows = crate::series::model_engine::rows_of(stream.unwrap()).unwrap();
            (info.key.to_string(), rows.into_iter().map(|(t, r)| (t, format!("{r:?}"))).collect())
        });
        all.collect()
    }
}

type Answers = Vec<(String, Vec<(i64, String)>)>;

/// A manifest over a server, and a folder, that a restore goes to.
fn target(server: &Influxd, more: &str) -> (tempfile::TempDir, Manifest) {
    let dir = tempfile::tempdir().unwrap();
    let manifest = over(server, dir.path(), more);
    (dir, manifest)
}

fn restore_to(from: &Path, m: &Manifest) -> crate::Result<BackupReport> {
    restore(from, &m.host.data, Some(m), false, &mut |done, total| assert!(done <= total))
}

fn reopened(dir: tempfile::TempDir, manifest: Manifest) -> Over {
    let layer = DataLayer::open(&manifest).unwrap();
    Over { dir, manifest, layer }
}

#[test]
fn what_is_exported_is_the_same_on_another_server() {
    let first = Influxd::start();
    let host = Over::filled(&first);
    let before = host.answers();
    assert_eq!(before.iter().map(|(_, r)| r.len()).collect::<Vec<_>>(), [7, 500, 5_000]);
    let (backup, report) = host.export("backup");
    assert_eq!((report.databases, report.series_rows, report.outbox_records), (2, 5_507, 0));
    assert_eq!(check(&backup, &mut |_, _| ()).unwrap(), report);
    // The same rows give the same files: a repository stores them once.
    let (again, _) = host.export("again");
    for file in tree(&backup).iter().filter(|f| f.starts_with("series/")) {
        assert!(std::fs::read(backup.join(file)).unwrap() == std::fs::read(again.join(file)).unwrap());
    }
    host.layer.series().write(&OP, bars("A", [900 * MINUTE])).unwrap();
    drop(first);

    let second = Influxd::start();
    assert_eq!(second.write("first", "others v=1 1").0, 204);
    let (dir, manifest) = target(&second, "");
    let dry = restore(&backup, &manifest.host.data, Some(&manifest), true, &mut |_, _| ()).unwrap();
    assert_eq!(dry, report);
    assert_eq!(restore_to(&backup, &manifest).unwrap(), report);
    let there = reopened(dir, manifest);
    let mut after = there.answers();
    let others = after.iter().position(|(key, _)| key.contains("others")).unwrap();
    assert_eq!(after.remove(others).1.len(), 1, "other people's buckets are left alone");
    assert_eq!(after, before);
    assert_eq!(there.layer.settings().get(&OP, "system", "risk.max", None).unwrap().value, Some(json!(5)));
    let verified = there.layer.verify(&OP, &mut |_| ()).unwrap();
    assert!(verified.ok, "{verified:?}");

    // And without any server, in the embedded engine.
    let m = manifest_without(there.dir.path());
    restore(&backup, &there.path("plain"), Some(&m), false, &mut |_, _| ()).unwrap();
    let mut m = m;
    m.host.data = there.path("plain");
    let plain = Over { layer: DataLayer::open(&m).unwrap(), manifest: m, dir: tempfile::tempdir().unwrap() };
    assert_eq!(plain.answers(), before);
}

fn manifest_without(dir: &Path) -> Manifest {
    crate::layer::tests::manifest(dir, "")
}

#[test]
fn a_backup_under_writers_is_one_instant_with_what_waits_in_the_outbox() {
    let (first, second) = (Influxd::start(), Influxd::start());
    // Deliveries wait long enough that there is always something in the outbox.
    let host = Over::open(&first, "batch_wait = \"200 ms\"");
    let stop = AtomicBool::new(false);
    let (backup, report) = std::thread::scope(|s| {
        let (layer, stop) = (host.layer.clone(), &stop);
        let writer = s.spawn(move || {
            let mut n = 0_i64;
            while !stop.load(Ordering::Relaxed) {
                // A later step is never there without the earlier ones.
                layer.series().write(&OP, bars("W", [n * MINUTE])).unwrap();
                layer.series().write(&OP, bars("X", [n * MINUTE])).unwrap();
                layer.settings().set(&OP, "system", "n", json!(n), Expect::Any).unwrap();
                n += 1;
            }
            n
        });
        std::thread::sleep(Duration::from_millis(1_500));
        let taken = host.export("backup");
        stop.store(true, Ordering::Relaxed);
        assert!(writer.join().unwrap() > 0);
        taken
    });
    assert!(report.outbox_records > 0, "{report:?}");
    host.layer.series().engine().seal().unwrap();

    let (dir, manifest) = target(&second, "");
    assert_eq!(restore_to(&backup, &manifest).unwrap(), report);
    let there = reopened(dir, manifest);
    let count = |measurement: &str| {
        let all = there.answers();
        all.iter().find(|(k, _)| k.contains(measurement)).map_or(0, |(_, rows)| rows.len() as i64)
    };
    let setting =
        there.layer.settings().get(&OP, "system", "n", None).unwrap().value.unwrap().as_i64().unwrap();
    let (w, x) = (count("bar.1m.W"), count("bar.1m.X"));
    assert!(w == x || w == x + 1, "{w} rows and {x}");
    assert!(x == setting + 1 || x == setting + 2, "{x} rows at {setting}");
    there.layer.series().engine().seal().unwrap();
    assert_eq!((count("bar.1m.W"), count("bar.1m.X")), (w, x), "the restored host delivered what waited");

    // In the embedded engine what waited is written, too.
    let mut m = manifest_without(there.dir.path());
    m.host.data = there.path("plain");
    assert!(restore(&backup, &m.host.data, Some(&m), false, &mut |_, _| ()).unwrap().warnings.is_empty());
    assert!(!m.host.data.join("outbox.db").exists());
    let plain = Over { layer: DataLayer::open(&m).unwrap(), manifest: m, dir: tempfile::tempdir().unwrap() };
    assert_eq!(plain.answers(), there.answers());
}

#[test]
fn a_server_that_goes_away_meanwhile_leaves_no_half_backup() {
    let mut server = Influxd::start();
    let host = Over::filled(&server);
    let before = host.names();
    let to = host.path("backup");
    let mut kills = Some(&mut server);
    let e = host
        .layer
        .export(&OP, &to, &mut |_, _| {
            if let Some(server) = kills.take() {
                server.kill();
            }
        })
        .unwrap_err();
    assert!(e.kind() == Kind::Unavailable && e.hint_text().is_some(), "{e:?}");
    assert_eq!(host.names(), before);
    let e = host.layer.export(&OP, &to, &mut |_, _| ()).unwrap_err();
    assert_eq!((e.kind(), host.names()), (Kind::Unavailable, before));
    // Writes go on, and the next backup is whole.
    host.layer.series().write(&OP, bars("A", [900 * MINUTE])).unwrap();
    server.restart();
    while host.layer.series().engine().seal().is_err() {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(host.export("backup").1.series_rows, 5_508);
}

#[test]
fn a_restore_that_was_cut_off_goes_on_and_nothing_half_counts_as_whole() {
    let first = Influxd::start();
    let host = Over::filled(&first);
    let (before, (backup, report)) = (host.answers(), host.export("backup"));
    let mut second = Influxd::start();
    let (dir, manifest) = target(&second, "");
    for (kill_at, words) in [(1, "restore again"), (2, "restore again")] {
        let (mut lines, bytes) = (0, series_bytes(&backup));
        let server = &mut second;
        let e = restore(&backup, &manifest.host.data, Some(&manifest), false, &mut |done, total| {
            // Past the databases and objects, file by file of the series.
            if done > total - bytes {
                lines += 1;
                if lines == kill_at {
                    server.kill();
                }
            }
        })
        .unwrap_err();
        assert_eq!(e.kind(), Kind::Unavailable, "{e:?}");
        assert!(e.hint_text().unwrap().contains(words), "{e:?}");
        assert!(!manifest.host.data.exists(), "no data folder that passes for whole");
        let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["token"]);
        second.restart();
    }
    assert_eq!(restore_to(&backup, &manifest).unwrap(), report);
    assert_eq!(reopened(dir, manifest).answers(), before);
}

fn series_bytes(backup: &Path) -> u64 {
    let files = tree(backup).into_iter().filter(|f| f.starts_with("series/"));
    files.map(|f| backup.join(f).metadata().unwrap().len()).sum()
}

#[test]
fn what_is_in_the_bucket_already_is_never_mixed_with_a_backup() {
    let first = Influxd::start();
    let host = Over::filled(&first);
    let (backup, report) = host.export("backup");
    let before = host.answers();
    let cases = [
        ("another series", "other v=1 1", "other"),
        ("another row", "bar.1m.A close=1 7", "at 7 ns"),
        ("another value", "bar.1m.A close=123456 60000000000", "at 60000000000 ns"),
        ("a row after all", "bar.1m.A close=1 6000000000000000", "at 6000000000000000 ns"),
    ];
    let server = Influxd::start();
    for (what, line, words) in cases {
        let engine =
            crate::series::influx::fake_server::engine(&server.url(), Influxd::ORG, Influxd::TOKEN, 20_000);
        let batch = crate::series::line_protocol::parse("market", line.as_bytes(), Default::default(), 0);
        engine.write(batch.unwrap()).unwrap();
        let (dir, manifest) = target(&server, "");
        let e = restore_to(&backup, &manifest).unwrap_err();
        assert_eq!(e.kind(), Kind::Conflict, "{what}: {e:?}");
        assert!(
            e.message().contains("`market` is not empty") && e.message().contains(words),
            "{what}: {e:?}"
        );
        assert!(e.hint_text().is_some());
        assert_eq!(engine.list(&Selector::default()).unwrap().len(), 1, "{what}: nothing was written");
        // Emptied, it takes the backup.
        let all = Selector { bucket: Some("market".into()), ..Selector::default() };
        engine.delete(&all, TimeRange::ALL).unwrap();
        assert_eq!(restore_to(&backup, &manifest).unwrap(), report, "{what}");
        assert_eq!(reopened(dir, manifest).answers(), before, "{what}");
        engine.delete(&Selector::default(), TimeRange::ALL).unwrap();
    }
}

#[test]
fn damage_is_found_before_a_server_sees_anything() {
    let first = Influxd::start();
    let host = Over::filled(&first);
    let (backup, _) = host.export("backup");
    let second = Influxd::start();
    let (_dir, manifest) = target(&second, "");
    for file in tree(&backup).into_iter().filter(|f| f.starts_with("series/") || f == "outbox.db") {
        let path = backup.join(&file);
        let good = std::fs::read(&path).unwrap();
        let mut flipped = good.clone();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 1;
        for bad in [flipped, good[..good.len() - 1].to_vec(), [&good[..], b"x"].concat(), Vec::new()] {
            std::fs::write(&path, bad).unwrap();
            for e in
                [check(&backup, &mut |_, _| ()).unwrap_err(), restore_to(&backup, &manifest).unwrap_err()]
            {
                assert!(e.kind() == Kind::Corrupt && e.message().contains(&file), "{e:?}");
            }
        }
        std::fs::write(&path, &good).unwrap();
    }
    assert!(!second.request("GET", "/api/v2/buckets", "").unwrap().1.contains("\"market\""));
}

#[test]
fn buckets_keep_their_retention_and_old_rows_come_before_it() {
    let first = Influxd::start();
    let retention = "[series.influxdb2.retention]\nkept = \"90 d\"\n";
    let host = Over::open(&first, retention);
    let now = crate::schema::now_ns();
    for (bucket, age) in [("kept", 1), ("open", 86_400 * 400)] {
        let batch = WriteBatch {
            series: vec![(
                key(bucket, "m"),
                Frame {
                    times: vec![now - age * 1_000_000_000],
                    columns: vec![Column::float("v", vec![1.0])],
                },
            )],
        };
        assert_eq!(host.layer.series().write(&OP, batch).unwrap().written, 1);
    }
    host.layer.series().engine().seal().unwrap();
    let (backup, report) = host.export("backup");
    let kept = |host: &Over| -> Vec<(String, Option<u64>)> {
        let all = crate::series::buckets::list(&host.layer, &OP).unwrap();
        all.into_iter().filter(|b| b.name != "market").map(|b| (b.name, b.keep_s)).collect()
    };
    let wanted = vec![("first".into(), None), ("kept".into(), Some(90 * 86_400)), ("open".into(), None)];
    assert_eq!(kept(&host), wanted);

    // As it was, and as another manifest says.
    for (more, of_open) in
        [("", None), ("[series.influxdb2.retention]\nopen = \"400 d\"\n", Some(400 * 86_400))]
    {
        let second = Influxd::start();
        let (dir, manifest) = target(&second, more);
        assert_eq!(restore_to(&backup, &manifest).unwrap(), report);
        let there = reopened(dir, manifest);
        let mut wanted = wanted.clone();
        wanted[2].1 = of_open;
        assert_eq!(kept(&there), wanted);
    }

    // A bucket that exists with a retention of its own refuses what is too old for it, and says so.
    let third = Influxd::start();
    let (_dir, manifest) = target(&third, "[series.influxdb2.retention]\nopen = \"1 h\"\n");
    let engine = crate::layer::open_influx(&manifest).unwrap().0;
    engine.restore_bucket("open", Some(crate::units::Span::from_secs(3_600))).unwrap();
    let e = restore_to(&backup, &manifest).unwrap_err();
    assert!(e.kind() == Kind::Conflict && e.hint_text().unwrap().contains("retention"), "{e:?}");
    assert!(!manifest.host.data.exists());
}

/// A retention that somebody changes on the server is named, and set again.
#[test]
fn a_retention_that_was_changed_on_the_server_is_named() {
    let server = Influxd::start();
    let host = Over::open(&server, "[series.influxdb2.retention]\nmarket = \"90 d\"\n");
    let write = |host: &Over| {
        let now = crate::schema::now_ns();
        host.layer.series().write(&OP, bars("A", [now])).unwrap();
        host.layer.series().engine().seal().unwrap();
    };
    write(&host);
    assert!(host.layer.verify(&OP, &mut |_| ()).unwrap().ok);
    let stranger = crate::layer::open_influx(&host.manifest).unwrap().0;
    stranger.restore_bucket("market", Some(crate::units::Span::from_secs(7 * 86_400))).unwrap();
    let found = host.layer.verify(&OP, &mut |_| ()).unwrap();
    assert_eq!(found.faults.len(), 1, "{found:?}");
    assert_eq!(found.faults[0].object, "bucket `market`");
    assert!(
        found.faults[0].problem.contains("for 1 w") && found.faults[0].problem.contains("90 d"),
        "{found:?}"
    );
    let market = |host: &Over| {
        let all = crate::series::buckets::list(&host.layer, &OP).unwrap();
        let one = all.into_iter().find(|b| b.name == "market").unwrap();
        (one.keep_s, one.declared_s)
    };
    assert_eq!(market(&host), (Some(7 * 86_400), Some(90 * 86_400)));
    let Over { dir, manifest, layer } = host;
    drop(layer);
    let host = reopened(dir, manifest);
    write(&host);
    assert_eq!(market(&host), (Some(90 * 86_400), Some(90 * 86_400)));
    assert!(host.layer.verify(&OP, &mut |_| ()).unwrap().ok);
}

/// The last look at what a value is made of: not by its text.
#[test]
fn a_float_comes_back_bit_for_bit() {
    let (first, second) = (Influxd::start(), Influxd::start());
    let host = Over::open(&first, "");
    let bits: Vec<u64> = (0..2_000_u64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
    let values: Vec<f64> = bits.iter().map(|b| f64::from_bits(*b)).filter(|v| v.is_finite()).collect();
    let times: Vec<i64> = (0..values.len() as i64).collect();
    let frame = Frame { times, columns: vec![Column::float("v", values.clone())] };
    host.layer.series().write(&OP, WriteBatch { series: vec![(key("market", "m"), frame)] }).unwrap();
    let (backup, _) = host.export("backup");
    let (dir, manifest) = target(&second, "");
    restore_to(&backup, &manifest).unwrap();
    let there = reopened(dir, manifest);
    let stream = there.layer.series().engine().scan(
        &key("market", "m"),
        TimeRange::ALL,
        None,
        &crate::series::Budget::default(),
    );
    let rows = crate::series::model_engine::rows_of(stream.unwrap()).unwrap();
    let found: Vec<u64> =
        rows.iter().map(|(_, r)| r.values().next().and_then(Value::as_f64).unwrap().to_bits()).collect();
    assert_eq!(found, values.iter().map(|v| v.to_bits()).collect::<Vec<_>>());
}
