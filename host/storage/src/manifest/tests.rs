//! What a manifest may say, and what is said about one that is wrong.

use super::*;
use std::path::Path;

fn problems(text: &str) -> Vec<String> {
    match Manifest::parse(text, Path::new("/nowhere/shiphold.toml")) {
        Ok(_) => Vec::new(),
        Err(e) => e.problems.iter().map(|p| format!("{}: {}: {}", p.line, p.key, p.message)).collect(),
    }
}

/// One problem, on a line, at a key, whose message holds a word.
#[track_caller]
fn one(text: &str, line: usize, key: &str, word: &str) {
    let all = problems(text);
    assert_eq!(all.len(), 1, "{all:#?}");
    assert!(all[0].starts_with(&format!("{line}: {key}: ")) && all[0].contains(word), "{all:#?}");
}

#[test]
fn an_empty_manifest_is_a_working_one() {
    let m = Manifest::parse("", Path::new("/nowhere/shiphold.toml")).unwrap();
    assert_eq!(m.series.engine, EngineKind::Embedded);
    assert_eq!(m.host.data, Path::new("/nowhere/data"));
    assert_eq!(m.http.listen.to_string(), "127.0.0.1:8087");
    assert_eq!(m.safety.max_drop_share_percent, 20);
    assert_eq!(m.safety.keep_at_least["tick"], Span::from_secs(86_400));
}

#[test]
fn every_fault_is_reported_at_once_with_its_line() {
    let all = problems(
        r#"
[host]
name = "Bad Name"
dta = "x"
[series]
engine = "influx"
[series.embedded]
head_max = "64 mib"
chunk_rows = 5
[http]
listen = "0.0.0.0:8087"
body_max = 64
[safety]
max_drop_share = "20"
"#,
    );
    let lines: Vec<&str> = all.iter().map(|p| p.split(": ").next().unwrap()).collect();
    assert_eq!(lines, ["3", "4", "6", "8", "9", "11", "12", "14"], "{all:#?}");
}

#[test]
fn calendars_are_checked_key_by_key() {
    let text = |more: &str| {
        format!(
            "[calendars.nyse]\ntimezone = \"America/New_York\"\nopen = \"09:30\"\nclose = \"16:00\"\n{more}"
        )
    };
    let good = text("holidays = [\"2024-07-04\"]\nearly.\"2024-07-03\" = \"13:00\"");
    let m = Manifest::parse(&good, Path::new("/nowhere/shiphold.toml")).unwrap();
    assert_eq!(m.calendars["nyse"], crate::series::kinds::Session::new_york());
    one(&text("weekdays = [\"monday\"]"), 5, "calendars.nyse.weekdays", "`monday`");
    one(&text("holidays = [\"4 July\"]"), 5, "calendars.nyse.holidays", "`4 July`");
    one(&text("early.\"2024-07-03\" = \"17:00\""), 5, "calendars.nyse.early", "2024-07-03");
    one(&text("early.\"2024-07-03\" = 13"), 5, "calendars.nyse.early.2024-07-03", "expected a string");
    one(&text("holiday = []"), 5, "calendars.nyse.holiday", "did you mean `holidays`");
    one("[calendars.x]\ntimezone = \"UTC\"\nopen = \"09:30\"", 1, "calendars.x.close", "is missing");
    one(&text("").replace("09:30", "25:00"), 3, "calendars.nyse.open", "`25:00`");
    one(&text("").replace("York", "Yorck"), 2, "calendars.nyse.timezone", "Yorck");
    one(&text("").replace("nyse", "\"New York\""), 1, "calendars.New York", "1 to 64");
}

#[test]
fn unknown_keys_come_with_a_guess() {
    one("[series]\nengin = \"embedded\"", 2, "series.engin", "did you mean `engine`");
    one("[sries]\n", 1, "sries", "did you mean `series`");
    one("[limits]\nmemory_of_everything = 1", 2, "limits.memory_of_everything", "known here");
}

#[test]
fn limits_of_plugins_have_bounds_and_fit_each_other() {
    let all = |text: &str| format!("[limits.plugins]\n{text}");
    one(&all("instances = 0"), 2, "limits.plugins.instances", "outside 1..=256");
    one(&all("threads = 0"), 2, "limits.plugins.threads", "outside 1..=256");
    one(&all("wait = \"0 s\""), 2, "limits.plugins.wait", "outside");
    one(&all("component_max = \"2 GiB\""), 2, "limits.plugins.component_max", "outside");
    one(&all("compile_memory = \"63 MiB\""), 2, "limits.plugins.compile_memory", "outside");
    one(&all("instanzes = 1"), 2, "limits.plugins.instanzes", "did you mean `instances`");
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("p.wasm"), "").unwrap();
    let of = |all: &str, own: &str| {
        let text = format!(
            "[limits.plugins]\n{all}\n[plugins.p]\ncomponent = \"p.wasm\"\nworld = \"retention-policy\"\n[plugins.p.limits]\n{own}"
        );
        Manifest::parse(&text, &dir.path().join("shiphold.toml"))
    };
    let fits =
        of("memory = \"64 MiB\"", "input = \"1 KiB\"\nlog_bytes = \"0 B\"\nqueue = 0\nrequests = 0").unwrap();
    assert_eq!(fits.limits.plugins.memory, ByteSize::mib(64));
    let limits = &fits.plugins["p"].limits;
    assert_eq!(
        (limits.input, limits.log_bytes, limits.queue, limits.requests),
        (ByteSize::kib(1), ByteSize(0), 0, 0)
    );
    for (own, key, words) in [
        ("memory = \"65 MiB\"", "memory", "more than limits.plugins.memory (64 MiB)"),
        ("input = \"1023 B\"", "input", "outside"),
        ("output = \"1023 B\"", "output", "outside"),
        ("concurrency = 0", "concurrency", "outside 1..=256"),
        ("concurrency = 257", "concurrency", "outside"),
        ("queue = 10001", "queue", "outside"),
        ("gauges = 1001", "gauges", "outside"),
        ("memories = 0", "memories", "outside 1..=100"),
    ] {
        let said = of("memory = \"64 MiB\"", own).unwrap_err();
        assert_eq!(said.problems.len(), 1, "{own}: {said}");
        assert_eq!(said.problems[0].key, format!("plugins.p.limits.{key}"));
        assert!(said.problems[0].message.contains(words), "{own}: {said}");
    }
}

#[test]
fn units_are_asked_for() {
    one("[limits]\nquery_time = 30", 2, "limits.query_time", "no unit");
    one("[limits]\nquery_time = \"30 minutes\"", 2, "limits.query_time", "unknown unit");
    one("[disk]\nreserve = \"-1 MiB\"", 2, "disk.reserve", "starts with no number");
    one("[limits]\nquery_time = \"2 h\"", 2, "limits.query_time", "outside");
}

#[test]
fn bounds_hold_at_their_edges() {
    for (rows, ok) in [(1_023, false), (1_024, true), (1_048_576, true), (1_048_577, false)] {
        let found = problems(&format!("[series.embedded]\nchunk_rows = {rows}"));
        assert_eq!(found.is_empty(), ok, "{rows}: {found:?}");
    }
    for (cache, ok) in [("0 B", true), ("16 GiB", true), ("17 GiB", false)] {
        let found = problems(&format!("[series.embedded]\nmemory_max = \"64 GiB\"\ncache_max = \"{cache}\""));
        assert_eq!(found.is_empty(), ok, "{cache}: {found:?}");
    }
    for (memory, ok) in [("15 MiB", false), ("16 MiB", true), ("64 GiB", true), ("65 GiB", false)] {
        let found = problems(&format!("[series.embedded]\nmemory_max = \"{memory}\""));
        assert_eq!(found.is_empty(), ok, "{memory}: {found:?}");
    }
    for (share, ok) in [("0 %", false), ("1 %", true), ("100%", true), ("101 %", false), ("20", false)] {
        let found = problems(&format!("[safety]\nmax_drop_share = \"{share}\""));
        assert_eq!(found.is_empty(), ok, "{share}: {found:?}");
    }
}

#[test]
fn the_parts_of_the_memory_fit_into_it() {
    let of = |text: &str| {
        let text = format!("[host]\ndata = \"x\"\n[series.embedded]\n{text}");
        Manifest::parse(&text, Path::new("/nowhere/shiphold.toml")).unwrap().series.embedded
    };
    let (usual, small) = (of(""), of("memory_max = \"16 MiB\""));
    assert_eq!((usual.memory_max, usual.head_max), (ByteSize::mib(256), ByteSize::mib(64)));
    assert_eq!(usual.cache_max, ByteSize::mib(32));
    assert_eq!((small.head_max, small.cache_max), (ByteSize::mib(4), ByteSize::mib(2)));
    for (key, most, more, part) in
        [("head_max", "8 MiB", "9 MiB", "a quarter"), ("cache_max", "16 MiB", "17 MiB", "half")]
    {
        of(&format!("memory_max = \"32 MiB\"\n{key} = \"{most}\""));
        let over = format!("[series.embedded]\nmemory_max = \"32 MiB\"\n{key} = \"{more}\"");
        one(&over, 3, &format!("series.embedded.{key}"), part);
    }
}

#[test]
fn duplicate_names_are_named() {
    let all = problems("[files.models]\nkind = \"models\"\n[files.models]\nkind = \"logs\"\n");
    assert!(all.iter().any(|p| p.starts_with("3: ") && p.contains("duplicate")), "{all:#?}");
}

#[test]
fn roots_that_overlap_are_refused() {
    one("[files.a]\nkind = \"logs\"\nroot = \"data\"", 3, "files.a.root", "overlaps the data folder");
    one("[files.a]\nkind = \"logs\"\nroot = \"data/cache\"", 3, "files.a.root", "overlaps the data folder");
    one("[files.a]\nkind = \"logs\"\nroot = \".\"", 3, "files.a.root", "overlaps the data folder");
    one(
        "[files.a]\nkind = \"logs\"\nroot = \"x/../y\"\n[files.b]\nkind = \"logs\"\nroot = \"y/z\"",
        6,
        "files.b.root",
        "overlaps the root of [files.a]",
    );
    assert!(
        problems("[files.a]\nkind = \"logs\"\nroot = \"a\"\n[files.b]\nkind = \"logs\"\nroot = \"ab\"")
            .is_empty()
    );
}

#[test]
fn a_symlink_does_not_hide_an_overlap() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("data")).unwrap();
    std::os::unix::fs::symlink(dir.path().join("data"), dir.path().join("elsewhere")).unwrap();
    let text = "[files.a]\nkind = \"logs\"\nroot = \"elsewhere/x\"";
    let found = Manifest::parse(text, &dir.path().join("shiphold.toml")).unwrap_err();
    assert!(found.problems[0].message.contains("overlaps the data folder"), "{found}");
}

#[test]
fn missing_files_and_names_are_reported() {
    let all = problems(
        "[plugins.p]\ncomponent = \"gone.wasm\"\nworld = \"retention-policy\"\n[secrets.s]\nfile = \"gone\"\n",
    );
    assert_eq!(all.len(), 2, "{all:#?}");
    assert!(
        all[0].starts_with("2: plugins.p.component:") && all[1].starts_with("5: secrets.s.file:"),
        "{all:#?}"
    );
    one("[plugins.p]\nworld = \"retention-policy\"", 1, "plugins.p.component", "is missing");
    one(
        "[series]\nengine = \"influxdb2\"\n[series.influxdb2]\nurl = \"http://127.0.0.1:1\"\norg = \"o\"\ntoken = \"t\"",
        6,
        "series.influxdb2.token",
        "there is no [secrets.t]",
    );
    one("[secrets.s]\n", 1, "secrets.s", "exactly one of");
}

fn plugin(world: &str, rest: &str) -> String {
    format!("[plugins.p]\ncomponent = \"/dev/null\"\nworld = \"{world}\"\n{rest}")
}

#[test]
fn impossible_grants_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("p.wasm"), b"").unwrap();
    for (world, rest, key, word) in [
        ("retention-policy", "[plugins.p.grants]\nhttp = [\"GET a.example\"]", "http", "not an import"),
        ("retention-policy", "[plugins.p.grants]\nskills = true", "skills", "not an import"),
        (
            "skill-indexer",
            "[plugins.p.grants.series]\ndrop = [\"market/*\"]",
            "drop",
            "only a retention-policy",
        ),
        ("retention-policy", "[plugins.p.grants.series]\nread = [\"tick\"]", "read", "bucket/measurement"),
        ("backup-target", "[plugins.p.grants]\nsecrets = [\"s3\"]", "secrets", "no [secrets.s3]"),
        ("backup-target", "[plugins.p.grants]\nhttp = [\"FETCH a.example\"]", "http", "method and a host"),
        ("backup-target", "[plugins.p.grants.files]\nread = [\"gone/*\"]", "read", "names no store"),
    ] {
        let text = plugin(world, rest).replace("/dev/null", "p.wasm");
        let found = Manifest::parse(&text, &dir.path().join("shiphold.toml")).unwrap_err().problems;
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(
            found[0].key.ends_with(key) && found[0].message.contains(word) && found[0].line == 5,
            "{found:#?}"
        );
    }
}

#[test]
fn schedules_and_zones() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("p.wasm"), b"").unwrap();
    let schedule = |line: &str| {
        let text = plugin("retention-policy", line).replace("/dev/null", "p.wasm");
        Manifest::parse(&text, &dir.path().join("shiphold.toml"))
            .map(|m| m.plugins["p"].schedule.clone().unwrap())
    };
    assert_eq!(schedule("schedule = \"every 15 min\"").unwrap(), Schedule::Every(Span::from_secs(900)));
    assert_eq!(schedule("schedule = \"0 3 * * 1-5\"").unwrap(), Schedule::Cron("0 3 * * 1-5".into()));
    for bad in ["0 3 * *", "every 10 ms", "every now", "61 3 * * *", "* * * * * *"] {
        assert!(schedule(&format!("schedule = \"{bad}\"")).is_err(), "{bad}");
    }
    assert!(schedule("schedule = \"every 1 h\"\ntimezone = \"Mars/Olympus\"").is_err());
}

#[test]
fn syntax_errors_name_their_line() {
    let all = problems("[host]\nname = \n[http\n");
    assert!(all.len() >= 2 && all[0].starts_with("2: toml"), "{all:#?}");
}

#[test]
fn a_manifest_that_is_too_large_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shiphold.toml");
    let fill = |n: u64| std::fs::write(&path, vec![b'\n'; usize::try_from(n).unwrap()]).unwrap();
    fill(load::MANIFEST_BYTES_MAX);
    assert!(Manifest::load(&path).is_ok());
    fill(load::MANIFEST_BYTES_MAX + 1);
    assert_eq!(Manifest::load(&path).unwrap_err().kind(), crate::Kind::Limit);
    std::fs::write(&path, [0xff, 0xfe]).unwrap();
    assert!(Manifest::load(&path).unwrap_err().message().contains("UTF-8"));
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,200}") {
        let _ = Manifest::parse(&text, Path::new("/nowhere/shiphold.toml"));
    }

    #[test]
    fn no_mutation_of_a_good_one_makes_it_panic(at in 0usize..400, byte in 0u8..128) {
        let mut text = include_bytes!("../../../../examples/trader/shiphold.toml").to_vec();
        let at = at % text.len();
        text[at] = byte;
        if let Ok(text) = String::from_utf8(text) {
            let _ = Manifest::parse(&text, Path::new("/nowhere/shiphold.toml"));
        }
    }
}

#[test]
fn keys_have_lines() {
    let text = "[host]\nname = \"a\"\n\n[plugins.p]\ncomponent = \"x\"\n[plugins.p.config]\ndays = 1\n";
    for (key, line) in [
        ("host.name", 2),
        ("plugins.p.component", 5),
        ("plugins.p.config.days", 7),
        ("plugins.p.config.gone", 6),
        ("plugins.p.sha256", 4),
        ("nothing", 1),
    ] {
        assert_eq!(Manifest::line_of(text, key), line, "{key}");
    }
}

#[test]
fn revisions_are_a_list_of_patterns_with_windows() {
    let read =
        |text: &str| Manifest::parse(text, Path::new("/nowhere/shiphold.toml")).unwrap().series.revisions;
    let of = |more: &str| format!("[[series.revisions]]\nmeasurement = \"bar.*\"\n{more}");
    let rules =
        read(&format!("[series]\nbucket = \"m\"\n{}", of("window = \"100 ms\"").replace("100 ms", "1 s")));
    assert_eq!((rules[0].bucket.as_str(), rules[0].window), ("m", Span::from_secs(1)));
    assert_eq!(read(&of("window = \"36500 d\"\nbucket = \"other\""))[0].bucket, "other");
    one(&of(""), 1, "series.revisions.window", "is missing");
    one(&of("window = \"999 ms\""), 3, "series.revisions.window", "outside");
    one(&of("window = \"36501 d\""), 3, "series.revisions.window", "outside");
    one(&of("window = \"1 d\"\nbucket = \"a/b\""), 4, "series.revisions.bucket", "not a name");
    one(&of("window = \"1 d\"\nwindows = 1"), 4, "series.revisions.windows", "did you mean `window`");
    let two = format!("{}\n{}", of("window = \"1 d\""), of("window = \"2 d\""));
    one(&two, 5, "series.revisions.measurement", "has an entry already");
    one("[series]\nrevisions = 1", 2, "series.revisions", "[[series.revisions]]");
    let many = |n: usize| -> String {
        (0..n).map(|i| format!("[[series.revisions]]\nmeasurement = \"m{i}\"\nwindow = \"1 d\"\n")).collect()
    };
    assert_eq!(read(&many(1_000)).len(), 1_000);
    assert!(problems(&many(1_001))[0].contains("more than 1000"));
}

#[test]
fn rollups_name_a_source_a_timeframe_and_do_not_meet() {
    let read = |text: &str| Manifest::parse(text, Path::new("/nowhere/shiphold.toml")).unwrap().rollups;
    let of =
        |from: &str, to: &str, more: &str| format!("[rollups.r]\nfrom = \"{from}\"\nto = \"{to}\"\n{more}");
    let r = &read(&of("bar.1m.*", "1h", ""))[0];
    assert_eq!((r.name.as_str(), r.bucket.as_str(), r.timezone.name()), ("r", "market", "UTC"));
    assert_eq!(read(&of("tick.*", "1m", "timezone = \"Europe/Berlin\""))[0].timezone.name(), "Europe/Berlin");
    let free = read(&of("metric.*", "1h", "aggregates = [\"mean(value)\", \"quantile(value,0.95)\"]"));
    assert_eq!(free[0].aggregates[1].q, Some(0.95));
    // A rollup of a rollup.
    let chain = format!("{}\n[rollups.days]\nfrom = \"bar.1h.*\"\nto = \"1d\"", of("bar.1m.*", "1h", ""));
    assert_eq!(read(&chain).len(), 2);

    one("[rollups.r]\nto = \"1h\"", 1, "rollups.r.from", "is missing");
    one(&of("bar.1m.*", "1x", ""), 3, "rollups.r.to", "not a timeframe");
    one(&of("bar.*", "1d", ""), 2, "rollups.r.from", "aggregates");
    one(&of("metric.*", "1d", ""), 2, "rollups.r.from", "aggregates");
    // Its own target, and one that whole bars do not fill.
    one(&of("bar.1h.*", "1h", ""), 3, "rollups.r.to", "do not fill");
    one(&of("bar.4h.*", "1h", ""), 3, "rollups.r.to", "do not fill");
    one(&of("bar.1m.*", "1h", "timezone = \"Mars\""), 4, "rollups.r.timezone", "not an IANA zone");
    one(
        &of("metric.*", "1h", "aggregates = [\"avg(value)\"]"),
        4,
        "rollups.r.aggregates",
        "not FUNCTION(FIELD)",
    );
    one(
        &of("metric.*", "1h", "aggregates = [\"quantile(value,1.5)\"]"),
        4,
        "rollups.r.aggregates",
        "not FUNCTION",
    );
    one(
        &of("metric.*", "1h", "aggregates = [\"sum(a)\", \"sum(a)\"]"),
        4,
        "rollups.r.aggregates",
        "given twice",
    );
    one(&of("*", "1h", "aggregates = [\"sum(a)\"]"), 2, "rollups.r.from", "feed itself");
    let two = format!("{}[rollups.s]\nfrom = \"tick.A*\"\nto = \"1h\"", of("bar.1m.*", "1h", ""));
    one(&two, 6, "rollups.s.to", "as [rollups.r] does");
    assert!(problems(&two.replace("to = \"1h\"\n[", "to = \"2h\"\n[")).is_empty());
    let many: String = (0..=100).map(|i| format!("\"sum(f{i})\",")).collect();
    one(&of("metric.*", "1h", &format!("aggregates = [{many}]")), 4, "rollups.r.aggregates", "more than 100");
    let lots = |n: usize| -> String {
        (0..n).map(|i| format!("[rollups.r{i}]\nfrom = \"tick.S{i}\"\nto = \"1h\"\n")).collect()
    };
    assert_eq!(read(&lots(1_000)).len(), 1_000);
    assert!(problems(&lots(1_001)).iter().any(|p| p.contains("more than 1000")));
}
