use super::*;
use crate::caller::{Caller, Scope};
use crate::error::Kind;
use crate::files::{ObjectDisk, StoreConfig};
use crate::schema::{MIGRATIONS, now_ns};
use crate::sqlite::Options;
use crate::units::{ByteSize, Span};
use std::collections::BTreeMap;
use tempfile::TempDir;

const ME: Caller = Caller::Operator;

struct Fixture {
    logs: Logs,
    files: Arc<FileStores>,
    db: Arc<Database>,
    dir: TempDir,
}

fn rules(segment: u64) -> manifest::Logs {
    manifest::Logs {
        store: Some("logs".into()),
        segment: ByteSize(segment),
        segment_age: Span::from_secs(3600),
        line_max: ByteSize(300),
    }
}

impl Fixture {
    fn new(segment: u64, quota: u64) -> Self {
        Self::with(segment, StoreConfig { quota_bytes: quota, ..StoreConfig::UNBOUNDED })
    }
    fn with(segment: u64, config: StoreConfig) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let db = Arc::new(Database::open(&dir.path().join("db"), Options::default(), MIGRATIONS).unwrap());
        let disk = crate::files::CapDisk::open(&dir.path().join("logs")).unwrap();
        let disks = BTreeMap::from([("logs".to_string(), (Box::new(disk) as Box<dyn ObjectDisk>, config))]);
        let files = Arc::new(FileStores::with_disks(disks, db.clone(), Arc::new(|| Ok(()))).unwrap());
        Self { logs: Logs::new(db.clone(), files.clone(), rules(segment)), files, db, dir }
    }
    fn push(&self, text: &str) -> Pushed {
        self.logs.push(&ME, "trader", text.as_bytes()).unwrap()
    }
    fn search(&self, query: LogQuery) -> LogPage {
        self.logs.search(&ME, "trader", &query).unwrap()
    }
    fn all(&self) -> Vec<LogLine> {
        let (mut all, mut after) = (Vec::new(), 0);
        loop {
            let page = self.search(LogQuery { after, limit: 100, ..LogQuery::default() });
            assert_eq!(page.unreadable, Vec::<String>::new());
            all.extend(page.lines);
            match page.next {
                Some(next) => after = next,
                None => return all,
            }
        }
    }
}

fn lines(from: u64, n: u64) -> String {
    (from..from + n)
        .map(|i| format!("{{\"ts\":{},\"level\":\"info\",\"i\":{i}}}\n", 1_700_000_000 + i))
        .collect()
}

#[test]
fn lines_come_back_in_their_order_wherever_they_are() {
    let f = Fixture::new(4_000, u64::MAX);
    assert_eq!(f.push(&lines(0, 10)), Pushed { lines: 10, first: 1, last: 10, cut: 0, replaced: 0 });
    assert_eq!(f.all().len(), 10);
    for i in 1..30 {
        f.push(&lines(i * 10, 10));
    }
    let stream = &f.logs.streams(&ME).unwrap()[0];
    assert_eq!((stream.stream.as_str(), stream.lines), ("trader", 300));
    assert!(stream.segments >= 2 && stream.waiting_bytes < 4_000, "{stream:?}");
    let all = f.all();
    assert_eq!(all.iter().map(|l| l.number).collect::<Vec<_>>(), (1..=300).collect::<Vec<_>>());
    assert!(all.iter().enumerate().all(|(i, l)| l.time == (1_700_000_000 + i as i64) * 1_000_000_000));
    // The files are what anybody can read.
    let file = &f.files.list(&ME, "logs", "trader/2023-11-14/", None, 10).unwrap()[0];
    assert_eq!(file.path, format!("trader/2023-11-14/{:020}.jsonl", 1));
    let rotated = f.logs.rotate(&ME, "trader").unwrap();
    assert_eq!(rotated, 1);
    assert_eq!(f.logs.rotate(&ME, "trader").unwrap(), 0);
    assert_eq!(f.all(), all);
    assert_eq!(f.logs.streams(&ME).unwrap()[0].waiting_bytes, 0);
    let tail = f.logs.tail(&ME, "trader", 5).unwrap();
    assert_eq!(tail.lines, all[295..]);
    // After the last of all numbers there is nothing.
    for after in [300, i64::MAX as u64, i64::MAX as u64 + 1, u64::MAX] {
        let page = f.search(LogQuery { after, limit: 100, ..LogQuery::default() });
        assert_eq!((page.lines, page.next), (Vec::new(), None), "after {after}");
    }
    f.push("one more\n");
    assert_eq!(f.logs.tail(&ME, "trader", 2).unwrap().lines[1].text, "one more");
    assert_eq!(f.logs.tail(&ME, "trader", 0).unwrap().lines, []);
    assert_eq!(f.logs.tail(&ME, "trader", 1000).unwrap().lines.len(), 301);
    // Another start.
    let Fixture { logs, files, db, dir } = f;
    drop(logs);
    let f = Fixture { logs: Logs::new(db.clone(), files.clone(), rules(4_000)), files, db, dir };
    assert_eq!(f.all().len(), 301);
    assert_eq!(f.push("x").first, 302);
}

#[test]
fn a_search_by_time_level_and_text() {
    let f = Fixture::new(2_000, u64::MAX);
    for i in 0..100_u64 {
        let level = ["debug", "info", "error"][(i % 3) as usize];
        f.push(&format!("{{\"ts\":{},\"level\":\"{level}\",\"msg\":\"order {i}\"}}", 1_700_000_000 + i));
    }
    let find = |q: LogQuery| f.search(LogQuery { limit: 1000, ..q }).lines.len();
    let at = |i: i64| Some((1_700_000_000 + i) * 1_000_000_000);
    assert_eq!(find(LogQuery { from_ns: at(10), to_ns: at(20), ..LogQuery::default() }), 10);
    assert_eq!(find(LogQuery { from_ns: at(99), ..LogQuery::default() }), 1);
    assert_eq!(find(LogQuery { to_ns: at(0), ..LogQuery::default() }), 0);
    assert_eq!(find(LogQuery { level: Some(Level::Info), ..LogQuery::default() }), 66);
    assert_eq!(find(LogQuery { level: Some(Level::Fatal), ..LogQuery::default() }), 0);
    assert_eq!(find(LogQuery { text: Some("order 7".into()), ..LogQuery::default() }), 11);
    let both = LogQuery {
        text: Some("order 7".into()),
        level: Some(Level::Error),
        from_ns: at(71),
        ..LogQuery::default()
    };
    assert_eq!(find(both), 3);
    // In pages, each going on where the last one ended.
    let (mut seen, mut after, mut pages) = (Vec::new(), 0, 0);
    loop {
        let page = f.search(LogQuery { text: Some("order".into()), after, limit: 7, ..LogQuery::default() });
        assert!(page.lines.len() <= 7);
        seen.extend(page.lines.iter().map(|l| l.number));
        pages += 1;
        match page.next {
            Some(next) => after = next,
            None => break,
        }
    }
    assert_eq!((seen, pages), ((1..=100).collect::<Vec<_>>(), 15));
    let e = f.logs.search(&ME, "trader", &LogQuery { limit: LINES_PAGE_MAX + 1, ..LogQuery::default() });
    assert_eq!(e.unwrap_err().kind(), Kind::Limit);
    assert_eq!(f.logs.tail(&ME, "trader", TAIL_MAX + 1).unwrap_err().kind(), Kind::Limit);
    assert_eq!(f.logs.search(&ME, "other", &LogQuery::default()).unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn what_comes_is_bounded_and_nothing_is_lost_silently() {
    let f = Fixture::new(100_000, u64::MAX);
    let long = "x".repeat(1000);
    let pushed = f.logs.push(&ME, "trader", format!("{long}\n\n\r\nshort\r\n").as_bytes()).unwrap();
    assert_eq!((pushed.lines, pushed.cut, pushed.replaced), (2, 1, 0));
    let all = f.all();
    assert_eq!(all[0].text, format!("{}…[cut 700 bytes]", "x".repeat(300)));
    assert_eq!((all[1].text.as_str(), all[1].level), ("short", None));
    let pushed = f.logs.push(&ME, "trader", b"bad \xff bytes\n\0nul\n").unwrap();
    assert_eq!((pushed.lines, pushed.replaced), (2, 1));
    assert_eq!(f.all()[3].text, "\0nul");
    assert_eq!(f.logs.push(&ME, "trader", b"\n\n").unwrap(), Pushed::default());
    let too_much = vec![b'\n'; PUSH_BYTES_MAX + 1];
    assert_eq!(f.logs.push(&ME, "trader", &too_much).unwrap_err().kind(), Kind::Limit);
    assert_eq!(f.logs.push(&ME, "trader", &too_much[1..]).unwrap().lines, 0);
    let short = "a\n".repeat(PUSH_LINES_MAX + 1);
    let e = f.logs.push(&ME, "short", short.as_bytes()).unwrap_err();
    assert!(e.kind() == Kind::Limit && e.message().contains("lines"), "{e:?}");
    let most = f.logs.push(&ME, "short", &short.as_bytes()[2..]).unwrap();
    assert_eq!(most.lines, PUSH_LINES_MAX as u64);
    for bad in ["", "..", "a/b", "Trader", "con", "a.", &"a".repeat(STREAM_BYTES_MAX + 1)] {
        assert_eq!(f.logs.push(&ME, bad, b"x").unwrap_err().kind(), Kind::Invalid, "{bad}");
    }
    let reader = Caller::Token { id: 1, name: "r".into(), scope: Scope::Read };
    assert_eq!(f.logs.push(&reader, "trader", b"x").unwrap_err().kind(), Kind::Denied);
    assert_eq!(f.logs.rotate(&reader, "trader").unwrap_err().kind(), Kind::Denied);
    assert_eq!(f.logs.tail(&reader, "trader", 1).unwrap().lines.len(), 1);
    let none = Logs::new(f.db.clone(), f.files.clone(), manifest::Logs { store: None, ..rules(1) });
    assert!(none.push(&ME, "trader", b"x").unwrap_err().hint_text().unwrap().contains("logs.store"));
    for i in f.logs.streams(&ME).unwrap().len()..usize::try_from(STREAMS_MAX).unwrap() {
        f.logs.push(&ME, &format!("s{i}"), b"x").unwrap();
    }
    assert_eq!(f.logs.push(&ME, "more", b"x").unwrap_err().kind(), Kind::Limit);
}

/// The store is full: lines wait, and when too many do, the sender is told.
#[test]
fn a_full_store_refuses_lines_before_it_loses_them() {
    let f = Fixture::new(2_000, 1_000);
    let mut pushed = 0;
    let e = loop {
        match f.logs.push(&ME, "trader", lines(pushed, 10).as_bytes()) {
            Ok(p) => pushed += p.lines,
            Err(e) => break e,
        }
    };
    assert_eq!(e.kind(), Kind::Limit);
    assert!(pushed > 100);
    assert_eq!(f.all().len() as u64, pushed);
    assert_eq!(f.logs.rotate(&ME, "trader").unwrap_err().kind(), Kind::Limit);
    assert_eq!(f.all().len() as u64, pushed);
}

#[test]
fn lines_that_waited_long_enough_become_a_segment() {
    let f = Fixture::new(1 << 20, u64::MAX);
    f.push(&lines(0, 5));
    f.logs.maintain().unwrap();
    assert_eq!(f.logs.streams(&ME).unwrap()[0].segments, 0);
    f.db.write(|tx| Ok(tx.execute("UPDATE log_streams SET since = ?1", [now_ns() - 3_601_000_000_000])?))
        .unwrap();
    f.logs.maintain().unwrap();
    let stream = &f.logs.streams(&ME).unwrap()[0];
    assert_eq!((stream.segments, stream.waiting_bytes), (1, 0));
    f.logs.maintain().unwrap();
    assert_eq!(f.all().len(), 5);
}

#[test]
fn a_segment_that_is_damaged_or_gone_is_named_and_the_rest_is_found() {
    let f = Fixture::new(2_000, u64::MAX);
    for i in 0..30 {
        f.push(&lines(i * 10, 10));
    }
    let segments = f.files.list(&ME, "logs", "", None, 100).unwrap();
    assert!(segments.len() >= 3);
    let hash = segments[1].blake3.clone().unwrap();
    let place = f.dir.path().join("logs/objects").join(&hash[..2]).join(&hash);
    let mut bytes = std::fs::read(&place).unwrap();
    bytes[10] ^= 1;
    std::fs::write(&place, bytes).unwrap();
    let page = f.search(LogQuery { limit: 1000, ..LogQuery::default() });
    assert_eq!(page.unreadable.len(), 1);
    assert!(page.unreadable[0].contains(&segments[1].path), "{:?}", page.unreadable);
    assert!(page.lines.len() >= 200);
    // Its file goes by the rules of the store, and nobody misses it.
    f.files.delete(&ME, "logs", &segments[1].path, true).unwrap();
    let page = f.search(LogQuery { limit: 1000, ..LogQuery::default() });
    assert_eq!(page.unreadable, Vec::<String>::new());
    assert_eq!(page.lines.last().unwrap().number, 300);
}

/// A store that was restored has its objects as files, large ones, too: what is wrong near the end of one is known before its first line
/// is given.
#[test]
fn no_line_comes_out_of_a_large_segment_that_is_damaged() {
    let whole = crate::files::Chunking { above: usize::MAX, ..crate::files::Chunking::DEFAULT };
    let f = Fixture::with(400_000, StoreConfig { chunking: whole, ..StoreConfig::UNBOUNDED });
    for i in 0..20 {
        f.push(&lines(i * 1000, 1000));
    }
    f.logs.rotate(&ME, "trader").unwrap();
    let all = f.all();
    assert_eq!(all.len(), 20_000);
    let segments = f.files.list(&ME, "logs", "", None, 100).unwrap();
    assert!(segments.len() >= 2 && segments[0].size > 4 << 16, "{segments:?}");
    let hash = segments[0].blake3.clone().unwrap();
    let place = f.dir.path().join("logs/objects").join(&hash[..2]).join(&hash);
    let mut bytes = std::fs::read(&place).unwrap();
    let at = bytes.len() - 10;
    bytes[at] ^= 1;
    std::fs::write(&place, &bytes).unwrap();
    let page = f.search(LogQuery { limit: 10, ..LogQuery::default() });
    assert_eq!(page.unreadable.len(), 1);
    let last = segments[0].metadata["last"].as_u64().unwrap();
    assert_eq!(page.lines[0].number, last + 1);
    assert_eq!(page.lines, all[usize::try_from(last).unwrap()..][..10]);
    bytes[at] ^= 1;
    std::fs::write(&place, &bytes).unwrap();
    assert_eq!(f.all(), all);
}

#[test]
fn pushes_rotations_and_searches_at_once() {
    let f = Fixture::new(3_000, u64::MAX);
    f.push("first\n");
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::SeqCst) {
                f.logs.rotate(&ME, "trader").unwrap();
            }
        });
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::SeqCst) {
                let numbers: Vec<u64> = f.all().iter().map(|l| l.number).collect();
                assert_eq!(
                    numbers,
                    (1..=numbers.len() as u64).collect::<Vec<_>>(),
                    "none twice, none missing"
                );
            }
        });
        let pushers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    for i in 0..50 {
                        f.push(&lines(i * 10, 10));
                    }
                })
            })
            .collect();
        let ends: Vec<_> = pushers.into_iter().map(|t| t.join()).collect();
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        assert!(ends.into_iter().all(|e| e.is_ok()));
    });
    assert_eq!(f.all().len(), 1001);
}

#[test]
fn a_plugin_reads_the_streams_that_were_granted() {
    let f = Fixture::new(1 << 20, 1 << 30);
    f.push("one\ntwo\n");
    f.logs.push(&ME, "secret", b"key\n").unwrap();
    let grants = crate::Grants { logs_read: vec!["trad*".into()], ..crate::Grants::default() };
    let plugin = Caller::Plugin { name: "p".into(), grants: grants.into() };
    let query = LogQuery { limit: 9, ..LogQuery::default() };
    assert_eq!(f.logs.search(&plugin, "trader", &query).unwrap().lines.len(), 2);
    assert_eq!(f.logs.tail(&plugin, "trader", 1).unwrap().lines[0].text, "two");
    // Whether it is there or not; and it neither writes nor sees which there are.
    for stream in ["secret", "nowhere", "", "*", "TRADER"] {
        assert_eq!(f.logs.search(&plugin, stream, &query).unwrap_err().kind(), Kind::Denied, "{stream}");
        assert_eq!(f.logs.tail(&plugin, stream, 1).unwrap_err().kind(), Kind::Denied, "{stream}");
    }
    assert_eq!(f.logs.search(&plugin, "tradition", &query).unwrap_err().kind(), Kind::NotFound);
    assert_eq!(f.logs.push(&plugin, "trader", b"three\n").unwrap_err().kind(), Kind::Denied);
    assert_eq!(f.logs.streams(&plugin).unwrap_err().kind(), Kind::Denied);
    assert_eq!(f.logs.rotate(&plugin, "trader").unwrap_err().kind(), Kind::Denied);
}
