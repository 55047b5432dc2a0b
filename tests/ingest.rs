//! Market data in: line protocol over HTTP, CSV through the command line, and what comes back.

use crate::support::{Host, bars, root};

#[test]
fn bars_written_as_line_protocol_come_back_as_bars() {
    let mut host = Host::new();
    host.serve();
    let token = host.token("feed", "write");
    let answer = host.write_lines(&token, "market", &bars("AAPL", 1_700_000_000, 500));
    assert_eq!((answer.status, answer.body.as_str()), (204, ""), "{answer:?}");
    assert_eq!(host.rows("bar.1m.AAPL"), 500);

    let said =
        host.run(&["--json", "series", "query", "--measurement", "bar.1m.AAPL", "--limit", "2"]).json();
    let text = said.to_string();
    assert!(text.contains("close") && text.contains("volume"), "{text}");

    let latest = host.run(&["--json", "series", "latest", "--measurement", "bar.1m.AAPL"]).json().to_string();
    assert!(latest.contains("599"), "the last volume is 100 + 499: {latest}");
}

#[test]
fn the_same_batch_twice_is_stored_once() {
    let mut host = Host::new();
    host.serve();
    let token = host.token("feed", "write");
    for _ in 0..2 {
        assert_eq!(host.write_lines(&token, "market", &bars("KO", 1_700_000_000, 100)).status, 204);
    }
    let said = host.run(&["series", "compact"]);
    said.ok();
    assert_eq!(host.rows("bar.1m.KO"), 100);
}

#[test]
fn real_daily_bars_are_imported_whole_with_and_without_a_host() {
    let file = root().join("examples/trader/data/sp500.csv");
    let file = file.to_str().unwrap();
    let import = ["series", "import", file, "--symbol", "SPX", "--timeframe", "1d"];
    let mut host = Host::new();
    host.run(&import).ok();
    assert_eq!(host.rows("bar.1d.SPX"), 5_031);
    // Again, now through the socket of a running host: the rows are the same.
    host.serve();
    host.run(&import).ok();
    host.run(&["series", "compact"]).ok();
    assert_eq!(host.rows("bar.1d.SPX"), 5_031);
    let latest = host.run(&["--json", "series", "latest", "--measurement", "bar.1d.SPX"]).json().to_string();
    assert!(latest.contains("2506.850098"), "the close of 31 December 2018: {latest}");
}

#[test]
fn an_export_into_a_folder_goes_on_where_it_was_cut_off() {
    let mut host = Host::new();
    host.serve();
    let token = host.token("feed", "write");
    for symbol in ["AAPL", "KO"] {
        assert_eq!(host.write_lines(&token, "market", &bars(symbol, 1_700_000_000, 300)).status, 204);
    }
    let to = host.path().join("out");
    let folder = to.to_str().unwrap();
    let export = ["series", "export", "bar.*", "--to", folder, "--format", "csv"];
    assert!(host.run(&export).ok().contains("2 files"));
    let read = |name: &str| std::fs::read_to_string(to.join(name)).unwrap();
    assert_eq!(read("bar.1m.KO.csv").lines().count(), 301);
    // What is there is whole and stays; what was begun begins anew.
    std::fs::write(to.join("bar.1m.AAPL.csv"), "left as it is").unwrap();
    std::fs::rename(to.join("bar.1m.KO.csv"), to.join("bar.1m.KO.csv.partial")).unwrap();
    assert!(host.run(&export).ok().contains("1 files"));
    assert_eq!(
        (read("bar.1m.AAPL.csv").as_str(), read("bar.1m.KO.csv").lines().count()),
        ("left as it is", 301)
    );
    assert!(!to.join("bar.1m.KO.csv.partial").exists());
    host.run(&["series", "export", "bar.*", "--to", folder]).fails(2, &["other options", "export.json"]);
    let file = host.path().join("ko.parquet");
    let file = file.to_str().unwrap();
    host.run(&["series", "export", "bar.1m.KO", "--to", file, "--fields", "nothing"])
        .fails(1, &["`nothing`"]);
    assert!(!std::path::Path::new(file).exists());
    host.run(&["series", "export", "bar.1m.KO", "--to", file]).ok();
    assert!(std::fs::read(file).unwrap().ends_with(b"PAR1"));
}

#[test]
fn a_gzipped_batch_is_accepted() {
    use std::io::Write as _;
    let mut host = Host::new();
    host.serve();
    let token = host.token("feed", "write");
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(bars("KO", 1_700_000_000, 1_000).as_bytes()).unwrap();
    let auth = format!("Token {token}");
    let answer = crate::support::request(
        &host.url("/api/v2/write?bucket=market&precision=s"),
        "POST",
        &[("Authorization", &auth), ("Content-Encoding", "gzip")],
        &gz.finish().unwrap(),
    );
    assert_eq!(answer.status, 204, "{answer:?}");
    assert_eq!(host.rows("bar.1m.KO"), 1_000);
}

#[test]
fn gaps_are_found_and_filled_and_tags_choose_the_series() {
    let mut host = Host::new();
    host.serve();
    let token = host.token("feed", "write");
    let mut lines = String::new();
    for (exchange, minutes) in [("XNAS", [0, 1, 4]), ("ARCX", [0, 1, 2])] {
        for minute in minutes {
            lines.push_str(&format!(
                "bar,symbol=AAPL,timeframe=1m,exchange={exchange} open=1,high=2,low=1,close={},volume=5 {}\n",
                1 + minute,
                1_782_739_800 + minute * 60
            ));
        }
    }
    assert_eq!(host.write_lines(&token, "market", &lines).status, 204);

    let found = host.run(&["--json", "series", "coverage", "--measurement", "bar.1m.AAPL"]).json();
    let of = |exchange: &str| {
        let all = found.as_array().unwrap().iter();
        all.clone()
            .find(|s| s["key"].to_string().contains(exchange))
            .unwrap_or_else(|| panic!("{found}"))
            .clone()
    };
    assert_eq!((of("XNAS")["missing"].as_u64(), of("ARCX")["missing"].as_u64()), (Some(2), Some(0)));
    let shown = host.run(&["series", "coverage", "--measurement", "bar.1m.AAPL"]);
    assert!(shown.ok().contains("2026-06-29T13:32:00Z"), "{shown:?}");
    host.run(&["series", "coverage", "--measurement", "bar.*", "--longer-than", "2 min"]).ok();

    let query = |more: &[&str]| {
        host.run(
            &[&["--json", "series", "query", "--measurement", "bar.1m.AAPL", "--fields", "close"], more]
                .concat(),
        )
        .json()
    };
    for (condition, rows) in [
        ("exchange=XNAS", 3),
        ("exchange=XNAS,ARCX", 6),
        ("exchange!=XNAS", 3),
        ("exchange=~^X", 3),
        ("exchange!~C", 3),
        ("venue=", 6),
    ] {
        assert_eq!(query(&["--where", condition])["rows"], rows, "{condition}");
    }
    let closes = |fill: &str| {
        let filled = query(&["--where", "exchange=XNAS", "--resample", "1m", "--fill", fill]);
        filled["columns"][1]["values"].to_string()
    };
    assert_eq!(closes("none"), "[1.0,2.0,5.0]");
    assert_eq!(closes("null"), "[1.0,2.0,null,null,5.0]");
    assert_eq!(closes("previous"), "[1.0,2.0,2.0,2.0,5.0]");
    let plain = ["series", "query", "--measurement", "bar.1m.AAPL", "--fill", "null"];
    host.run(&plain).fails(1, &["no meaning without `window` or `resample`"]);
    let quantile = query_of(
        &host,
        &["--window", "1h", "--aggregate", "quantile(close,0.5)", "--where", "exchange=ARCX"],
    );
    assert_eq!(quantile["columns"][1]["name"], "close_quantile_0.5");
    assert_eq!(quantile["columns"][1]["values"][0], 2.0);
}

fn query_of(host: &Host, more: &[&str]) -> serde_json::Value {
    host.run(&[&["--json", "series", "query", "--measurement", "bar.1m.AAPL"], more].concat()).json()
}

#[test]
fn every_page_is_printed_as_one_answer_with_and_without_a_host() {
    let mut host = Host::new();
    host.serve();
    let token = host.token("feed", "write");
    assert_eq!(host.write_lines(&token, "market", &bars("AAPL", 1_700_000_000, 25_000)).status, 204);
    for running in [true, false] {
        if !running {
            host.signal("TERM");
        }
        // Short pages say in their head where the next one begins, long ones behind their rows.
        for limit in [9_000, 12_000] {
            let text = format!("SELECT close FROM \"bar.1m.AAPL\" LIMIT {limit}");
            let csv = host.run(&["series", "query", &text, "--format", "csv", "--all"]);
            let lines: Vec<&str> = csv.ok().lines().collect();
            assert_eq!((lines[0], lines.len()), ("time,close", 25_001), "{running}, {limit}");
            assert!(lines[1..].is_sorted(), "{running}, {limit}");
            let whole = host.run(&["series", "query", &text, "--format", "ndjson", "--all"]);
            assert_eq!(whole.ok().matches("\"time\"").count(), 25_000, "{running}, {limit}");
            assert_eq!(whole.ok().lines().count(), 25_000, "{running}, {limit}");
            let page = host.run(&["series", "query", &text, "--format", "ndjson"]);
            assert_eq!(page.ok().lines().count(), limit + 1);
            assert!(page.ok().lines().last().unwrap().starts_with("{\"next\":\""));
        }
    }
    host.run(&["series", "query", "SELECT * FROM m", "--all"]).fails(2, &["--format"]);
}
