//! What a manifest may say, and what is said about one that is wrong.

mod plugins;

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
    for (section, more) in [("series.embedded", "\nmemory_max = \"64 GiB\""), ("limits", "")] {
        for (cache, ok) in [("0 B", true), ("16 GiB", true), ("17 GiB", false)] {
            let found = problems(&format!("[{section}]{more}\ncache_max = \"{cache}\""));
            assert_eq!(found.is_empty(), ok, "{section}, {cache}: {found:?}");
        }
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

/// A manifest over InfluxDB; what `more` says begins on line 9.
fn over_influx(more: &str) -> String {
    format!(
        "[series]\nengine = \"influxdb2\"\n[secrets.t]\nenv = \"T\"\n[series.influxdb2]\n\
         url = \"http://127.0.0.1:8086\"\norg = \"o\"\ntoken = \"t\"\n{more}\n"
    )
}

#[test]
fn the_keys_of_influxdb_have_bounds_and_units() {
    let m = Manifest::parse(&over_influx(""), Path::new("/nowhere/shiphold.toml")).unwrap();
    let i = m.series.influxdb2.unwrap();
    assert_eq!((i.timeout, i.batch_wait), (Span::from_secs(10), Span::from_millis(50)));
    assert_eq!((i.outbox_max, i.create_buckets, i.retention.len()), (ByteSize::gib(4), true, 0));
    for (key, value, word) in [
        ("outbox_max", "1 MiB", ""),
        ("outbox_max", "1023 KiB", "outside 1 MiB to 1 TiB"),
        ("outbox_max", "1 TiB", ""),
        ("outbox_max", "1025 GiB", "outside 1 MiB to 1 TiB"),
        ("outbox_max", "64 mib", "unknown unit"),
        ("outbox_max", "64", "the unit is missing"),
        ("batch_wait", "0 s", ""),
        ("batch_wait", "10 s", ""),
        ("batch_wait", "10001 ms", "outside 0 s to 10 s"),
        ("batch_wait", "-1 s", "starts with no number"),
        ("batch_wait", "50", "the unit is missing"),
        ("timeout", "100 ms", ""),
        ("timeout", "99 ms", "outside 100 ms to 10 min"),
        ("timeout", "10 min", ""),
        ("timeout", "601 s", "outside 100 ms to 10 min"),
    ] {
        let text = over_influx(&format!("{key} = \"{value}\""));
        match word {
            "" => assert_eq!(problems(&text), [""; 0], "{key} = {value}"),
            word => one(&text, 9, &format!("series.influxdb2.{key}"), word),
        }
    }
    one(&over_influx("outbox_max = 64"), 9, "series.influxdb2.outbox_max", "64 MiB");
    one(&over_influx("create_buckets = \"yes\""), 9, "series.influxdb2.create_buckets", "true or false");
    one(&over_influx("outbox = \"1 GiB\""), 9, "series.influxdb2.outbox", "outbox_max");
}

#[test]
fn the_retention_of_buckets_has_bounds_and_names() {
    for (bucket, value, word) in [
        ("market", "1 h", ""),
        ("market", "3599 s", "outside 1 h to 24000 d"),
        ("market", "24000 d", ""),
        ("market", "24001 d", "outside 1 h to 24000 d"),
        ("market", "3600001 ms", "whole seconds"),
        ("market", "7", "the unit is missing"),
        ("\"raw ticks\"", "7 d", ""),
        ("_monitoring", "7 d", "not a name of a bucket"),
        ("\"a/b\"", "7 d", "not a name of a bucket"),
    ] {
        let text = over_influx(&format!("[series.influxdb2.retention]\n{bucket} = \"{value}\""));
        match word {
            "" => assert_eq!(problems(&text), [""; 0], "{bucket} = {value}"),
            word => {
                let key = format!("series.influxdb2.retention.{}", bucket.trim_matches('"'));
                one(&text, 10, &key, word);
            }
        }
    }
}

#[test]
fn the_address_of_influxdb_is_one() {
    for (url, ok) in [
        ("http://127.0.0.1:8086", true),
        ("https://influx.example/", true),
        ("127.0.0.1:8086", false),
        ("ftp://x", false),
        ("http://", false),
        ("http://u:p@h", false),
        ("http://h/base", false),
        ("http://h?q", false),
    ] {
        let text = over_influx("").replace("http://127.0.0.1:8086", url);
        match ok {
            true => assert_eq!(problems(&text), [""; 0], "{url}"),
            false => one(&text, 6, "series.influxdb2.url", "http://127.0.0.1:8086"),
        }
    }
    one(&over_influx("").replace("org = \"o\"", "org = \"\""), 7, "series.influxdb2.org", "is empty");
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
fn checkpoints_have_a_store_and_a_number_that_stays() {
    let good = Manifest::parse("", Path::new("/nowhere/shiphold.toml")).unwrap().state;
    assert_eq!(good, State { store: None, keep: 100 });
    let text = "[files.big]\nkind = \"objects\"\n[state]\nstore = \"big\"\nkeep = 10_000";
    let good = Manifest::parse(text, Path::new("/nowhere/shiphold.toml")).unwrap().state;
    assert_eq!(good, State { store: Some("big".into()), keep: 10_000 });
    one("[state]\nstore = \"gone\"", 2, "state.store", "no [files.gone]");
    one("[state]\nkeep = 0", 2, "state.keep", "outside");
    one("[state]\nkeep = 10001", 2, "state.keep", "outside");
    one("[state]\nkept = 1", 2, "state.kept", "did you mean `keep`");
    let apart = "[files.off]\nkind = \"archives\"\nbackup = false\n[state]\nstore = \"off\"";
    one(apart, 5, "state.store", "no part of backups");
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
fn decimals_are_lists_of_fields_with_a_scale() {
    let of = |more: &str| format!("[[series.decimals]]\nmeasurement = \"bar.*\"\n{more}");
    let good = of("fields = [\"close\", \"bid_*\"]\nscale = 8");
    let m = Manifest::parse(&good, Path::new("/nowhere/shiphold.toml")).unwrap();
    let want = DecimalFields {
        bucket: "market".into(),
        measurement: "bar.*".into(),
        fields: vec!["close".into(), "bid_*".into()],
        scale: 8,
    };
    assert_eq!(m.series.decimals, [want]);
    for scale in ["0", "18"] {
        assert_eq!(problems(&of(&format!("fields = [\"close\"]\nscale = {scale}"))), Vec::<String>::new());
    }
    one(&of("fields = [\"close\"]\nscale = 19"), 4, "series.decimals.scale", "18");
    one(&of("fields = [\"close\"]\nscale = -1"), 4, "series.decimals.scale", "");
    one(&of("fields = [\"close\"]\nscale = 1.5"), 4, "series.decimals.scale", "whole number");
    one(&of("fields = [\"close\"]"), 1, "series.decimals.scale", "is missing");
    one(&of("scale = 2"), 1, "series.decimals.fields", "is missing");
    one(&of("fields = []\nscale = 2"), 3, "series.decimals.fields", "0 names");
    one(&of("fields = [\"a\", \"a\"]\nscale = 2"), 3, "series.decimals.fields", "twice");
    one(&of("fields = [\"\"]\nscale = 2"), 3, "series.decimals.fields", "empty");
    one(&of("fields = [\"time\"]\nscale = 2"), 3, "series.decimals.fields", "no field");
    one(&of("fields = [\"*\"]\nscale = 2"), 3, "series.decimals.fields", "source_rows");
    one(&of("fields = [\"a\"]\nscale = 2\nbucket = \"a/b\""), 5, "series.decimals.bucket", "not a name");
    one(&of("fields = [\"a\"]\nscale = 2\nscales = 1"), 5, "series.decimals.scales", "did you mean `scale`");
    one("[[series.decimals]]\nfields = [\"a\"]\nscale = 2", 1, "series.decimals.measurement", "is missing");
    one("[series]\ndecimals = 1", 2, "series.decimals", "[[series.decimals]]");
    // The same field twice: agreed, or not.
    let two = |fields: &str, scale: u8| {
        let more = format!(
            "[[series.decimals]]\nmeasurement = \"bar.1m.*\"\nfields = [\"{fields}\"]\nscale = {scale}"
        );
        format!("{good}\n{more}")
    };
    assert_eq!(problems(&two("close", 8)), Vec::<String>::new());
    assert_eq!(problems(&two("open", 2)), Vec::<String>::new());
    one(&two("close", 2), 8, "series.decimals.scale", "`close` of `bar.*`");
    one(&two("bid_price", 2), 8, "series.decimals.scale", "`bid_*` of `bar.*`");
    one(&format!("{good}\n{good}"), 7, "series.decimals.fields", "has an entry already");
    assert_eq!(
        problems(&format!("{good}\n{}\nbucket = \"other\"", good.replace('8', "2"))),
        Vec::<String>::new()
    );
    // A mean is no decimal.
    let rollup = "[rollups.r]\nfrom = \"m\"\nto = \"1h\"\naggregates = [\"max(v)\", \"mean(v)\"]\n";
    let target = |field: &str| {
        format!(
            "{rollup}[[series.decimals]]\nmeasurement = \"rollup.1h.*\"\nfields = [\"{field}\"]\nscale = 2"
        )
    };
    assert_eq!(problems(&target("v_max")), Vec::<String>::new());
    one(&target("v_*"), 4, "rollups.r.aggregates", "`v_mean` is a float");
    let entries = |n: usize| {
        (0..n)
            .map(|i| format!("[[series.decimals]]\nmeasurement = \"m{i}\"\nfields = [\"v\"]\nscale = 2\n"))
            .collect::<String>()
    };
    assert_eq!(problems(&entries(decimals::DECIMALS_MAX)), Vec::<String>::new());
    let all = problems(&entries(decimals::DECIMALS_MAX + 1));
    assert!(all.len() == 1 && all[0].contains("series.decimals: has 1001 entries"), "{all:?}");
    let fields = |n: usize| {
        let names: Vec<String> = (0..n).map(|i| format!("\"f{i}\"")).collect();
        of(&format!("fields = [{}]\nscale = 2", names.join(",")))
    };
    assert_eq!(problems(&fields(decimals::FIELDS_MAX)), Vec::<String>::new());
    one(&fields(decimals::FIELDS_MAX + 1), 3, "series.decimals.fields", "1001 names");
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
