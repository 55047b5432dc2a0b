//! Skill indexers and query builders, as a trader meets them: the examples do their work, and hostile ones end in an error
//! while the host goes on.

use super::{eventually, runs, status};
use crate::support::{Host, bars, guests, request};
use serde_json::{Value, json};

fn plugin(name: &str, component: &str, world: &str, tables: &str) -> String {
    let path = guests().join(format!("{component}.wasm"));
    format!("[plugins.{name}]\ncomponent = \"{}\"\nworld = \"{world}\"\n{tables}\n", path.display())
}

fn goes_on(host: &Host, after: &str) {
    let health = host.http("GET", "/health", None, b"");
    assert_eq!(health.status, 200, "after {after}: {health:?}");
}

fn indexer() -> String {
    plugin("finance", "finance-index", "skill-indexer", "")
}

fn queries() -> String {
    plugin(
        "queries",
        "market-queries",
        "query-builder",
        r#"[plugins.queries.grants.series]
read = ["market/*"]
[plugins.queries.config]
bucket = "market"
[[plugins.queries.config.calendars]]
name = "nyse"
timezone = "America/New_York"
open = "09:30"
close = "16:00"
days = ["mon", "tue", "wed", "thu", "fri"]
holidays = ["2026-07-03"]
"#,
    )
}

fn put(host: &Host, name: &str, description: &str) {
    let file = host.path().join(format!("{name}.py"));
    std::fs::write(&file, format!("# {name}\n")).unwrap();
    host.run(&["skills", "put", name, "--code", file.to_str().unwrap(), "--description", description]).ok();
}

fn found(host: &Host, question: &str) -> Vec<String> {
    let hits = host.run(&["--json", "skills", "search", question]).json();
    hits["hits"].as_array().unwrap().iter().map(|h| h["name"].as_str().unwrap().to_string()).collect()
}

const RETRACEMENT: &str = "Enters after a retracement towards the rising 20 EMA and leaves at the prior high";

#[test]
fn a_question_finds_a_skill_that_shares_no_word_with_it() {
    // Without a host running, and with one.
    for serving in [false, true] {
        let mut host = Host::new().with(&indexer());
        if serving {
            host.serve();
        }
        put(&host, "ema-retracement", RETRACEMENT);
        put(&host, "pairs", "Trades the spread of two cointegrated stocks");
        let hits = host.run(&["--json", "skills", "search", "buy dips in an uptrend"]).json();
        assert_eq!(hits["hits"][0]["name"], "ema-retracement", "{hits}");
        let part = |name: &str| hits["hits"][0]["parts"][name].as_f64().unwrap();
        assert!(part("term") > 0.0 && part("vector") > 0.3 && part("text") == 0.0, "{hits}");
        host.run(&["skills", "search", "buy dips in an uptrend"]).ok();
    }
    let plain = Host::new();
    put(&plain, "ema-retracement", RETRACEMENT);
    assert!(found(&plain, "buy dips in an uptrend").is_empty());
}

#[test]
fn an_indexer_that_comes_later_sees_the_skills_that_were_there() {
    let host = Host::new();
    put(&host, "ema-retracement", RETRACEMENT);
    let mut host = host.with(&indexer());
    assert!(found(&host, "buy dips in an uptrend").is_empty());
    let done = host.run(&["--json", "skills", "reindex"]).json();
    assert_eq!(done, json!({ "rebuilt": 1, "indexed": 1, "failed": 0 }));
    assert_eq!(found(&host, "buy dips in an uptrend"), ["ema-retracement"]);
    assert_eq!(host.run(&["--json", "skills", "reindex"]).json()["indexed"], 0, "nothing waits");
    assert_eq!(host.run(&["--json", "skills", "reindex", "--all"]).json()["indexed"], 1);

    // Its configuration changed: a host that starts asks again by itself.
    host = host.with("[[plugins.finance.config.synonyms]]\nconcept = \"pullback\"\nphrases = [\"zorble\"]\n");
    host.serve();
    eventually("the skills are indexed anew", &host, || found(&host, "zorble") == ["ema-retracement"]);
}

#[test]
fn every_hostile_indexer_costs_its_own_words_and_nothing_else() {
    let mut host = Host::new().with(&plugin(
        "babbles",
        "babbles",
        "skill-indexer",
        "[plugins.babbles.limits]\ndeadline = \"2 s\"\nmemory = \"16 MiB\"\n[plugins.babbles.on_failure]\ndisable_after = 100\n",
    ));
    host.serve();
    put(&host, "good", "babble");
    assert_eq!(found(&host, "gibberish"), ["good"]);
    for (word, words) in [
        ("loopforever", "limits.deadline"),
        ("trapnow", "trapped"),
        ("eatmemory", "limits.memory"),
        ("recurse", "trapped"),
        ("toomanyterms", ""),
        ("hugeterm", ""),
        ("manydimensions", ""),
        ("notanumber", ""),
        ("refuseit", "it does not want to"),
    ] {
        put(&host, word, word);
        // Its own question fails in the indexer as well; plain words find it.
        assert_eq!(found(&host, word), [word], "plain full text");
        if !words.is_empty() {
            let newest = &runs(&host, "babbles")[0];
            assert!(newest["error"].as_str().unwrap_or_default().contains(words), "{word}: {newest}");
            assert_eq!(newest["state"], "failed");
        }
        assert_eq!(found(&host, "gibberish"), ["good"], "after {word}");
        goes_on(&host, word);
    }
    put(&host, "floodlog", "floodlog babble");
    assert_eq!(found(&host, "gibberish").len(), 2);
    let done = host.run(&["--json", "skills", "reindex"]).json();
    assert_eq!((&done["indexed"], &done["failed"]), (&json!(0), &json!(9)));
    assert_eq!(status(&host, "babbles")["enabled"], true);
    host.run(&["verify"]).ok();
}

#[test]
fn an_indexer_that_only_fails_is_disabled_and_comes_back() {
    let mut host = Host::new().with(&plugin(
        "babbles",
        "babbles",
        "skill-indexer",
        "[plugins.babbles.on_failure]\ndisable_after = 3\n",
    ));
    host.serve();
    put(&host, "a", "babble");
    for _ in 0..3 {
        found(&host, "refuseit");
    }
    assert_eq!(status(&host, "babbles")["enabled"], false);
    assert!(found(&host, "gibberish").is_empty());
    put(&host, "b", "babble");
    host.run(&["plugins", "enable", "babbles"]).ok();
    assert_eq!(found(&host, "gibberish"), ["a"]);
    host.run(&["skills", "reindex"]).ok();
    assert_eq!(found(&host, "gibberish"), ["a", "b"]);
}

/// Monday, 29 June 2026, 09:30 in New York.
const OPEN_S: i64 = 1_782_739_800;

fn market() -> Host {
    let mut host = Host::new().with(&queries());
    host.serve();
    let token = host.token("feed", "write");
    // Ten minutes before the bell, the session, and ten minutes after it.
    let minutes = bars("AAPL", OPEN_S - 600, 410);
    let ticks = (0..600)
        .map(|i| format!("tick,symbol=AAPL price={},size={} {}\n", 100 + i % 3, 1 + i % 2, OPEN_S + i));
    let books = (0..60).map(|i| {
        format!(
            "book,symbol=AAPL bid_price_1={},bid_size_1=1,ask_price_1={},ask_size_1=1 {}\n",
            99 + i,
            101 + i,
            OPEN_S + i * 10 + 5
        )
    });
    for lines in [minutes, ticks.collect(), books.collect()] {
        let answer = host.write_lines(&token, "market", &lines);
        assert_eq!(answer.status, 204, "{answer:?}");
    }
    host
}

fn column(table: &Value, name: &str) -> Vec<Option<f64>> {
    let columns = table["columns"].as_array().unwrap();
    let column = columns.iter().find(|c| c["name"] == name).unwrap_or_else(|| panic!("no {name} in {table}"));
    column["values"].as_array().unwrap().iter().map(Value::as_f64).collect()
}

#[test]
fn named_queries_are_listed_described_and_run_by_their_own_names() {
    let host = market();
    let list = host.run(&["--json", "queries", "list"]).json();
    let names: Vec<&str> = list.as_array().unwrap().iter().map(|q| q["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["rolling-volatility", "session-bars", "trades-to-quotes", "vwap"]);
    let shown = host.run(&["queries", "show", "vwap"]);
    assert!(shown.ok().contains("every") && shown.out.contains("needed"), "{shown:?}");

    let vwap = host.run(&["--json", "queries", "run", "vwap", "symbol=AAPL", "every=60 s"]).json();
    assert_eq!(vwap["rows"], 10);
    let (mut value, mut volume) = (0.0, 0.0);
    for i in 0..60 {
        value += f64::from((100 + i % 3) * (1 + i % 2));
        volume += f64::from(1 + i % 2);
    }
    assert!((column(&vwap, "vwap")[0].unwrap() - value / volume).abs() < 1e-9, "{vwap}");
    assert_eq!(column(&vwap, "trades")[0], Some(60.0));

    let joined =
        host.run(&["--json", "queries", "run", "trades-to-quotes", "symbol=AAPL", "tolerance=3 s"]).json();
    assert_eq!(joined["rows"], 600);
    let bids = column(&joined, "bid");
    assert_eq!(
        &bids[..10],
        [None, None, None, None, None, Some(99.0), Some(99.0), Some(99.0), Some(99.0), None]
    );

    let sessions = host.run(&["--json", "queries", "run", "session-bars", "symbol=AAPL"]).json();
    assert_eq!(sessions["rows"], 1, "{sessions}");
    assert_eq!(sessions["columns"][0]["values"][0], OPEN_S * 1_000_000_000);
    assert_eq!(column(&sessions, "bars")[0], Some(390.0));
    host.run(&["queries", "run", "rolling-volatility", "symbol=AAPL", "timeframe=1m", "window=20"]).ok();
}

#[test]
fn a_long_answer_is_the_same_in_every_form_and_streams_through_the_plugin() {
    const BARS: usize = 150_000;
    let mut host = Host::new().with(&queries());
    host.serve();
    let token = host.token("feed", "write");
    assert_eq!(host.write_lines(&token, "market", &bars("AAPL", OPEN_S, BARS as i64)).status, 204);

    let ask = |form: &[&str]| {
        let args = ["queries", "run", "rolling-volatility", "symbol=AAPL", "timeframe=1m", "window=20"];
        host.run(&[&args[..], form].concat())
    };
    // More than two batches, and windows that reach from one into the next.
    let whole = ask(&["--format", "ndjson"]);
    let rows: Vec<Value> = whole.ok().lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert!(rows.len() > 140_000, "{}", rows.len());
    let mut all = vec!["--json"];
    all.extend(["queries", "run", "rolling-volatility", "symbol=AAPL", "timeframe=1m", "window=20"]);
    let document = host.run(&all).json();
    assert_eq!(document["rows"], rows.len());
    for column in document["columns"].as_array().unwrap() {
        let name = column["name"].as_str().unwrap();
        for (row, value) in rows.iter().zip(column["values"].as_array().unwrap()) {
            assert_eq!(row.get(name).unwrap_or(&Value::Null), value, "{name}");
        }
    }
    assert_eq!(ask(&["--format", "csv"]).ok().lines().count(), rows.len() + 1);
    let plain = ["series", "query", "--measurement", "bar.1m.AAPL", "--format", "csv"];
    assert_eq!(host.run(&plain).ok().lines().count(), BARS + 1);

    // It is sent in parts, not with a length.
    let token = format!("Bearer {}", host.token("reader", "read"));
    let headers =
        [("Authorization", token.as_str()), ("Accept", "text/csv"), ("Content-Type", "application/json")];
    let body = br#"{"measurement":"bar.1m.AAPL"}"#;
    let answer = request(&host.url("/v1/series/query"), "POST", &headers, body);
    assert_eq!(answer.body.lines().count(), BARS + 1);
    assert_eq!(
        (answer.header("content-length"), answer.header("transfer-encoding")),
        (None, Some("chunked"))
    );
}

#[test]
fn an_answer_beyond_its_limit_is_cut_off_and_says_so() {
    // Two batches fit: the first is sent when the second is there.
    let mut host = Host::new().with("[limits]\nquery_rows = 200000\n");
    host.serve();
    let token = host.token("feed", "write");
    for part in 0..2 {
        let some = bars("AAPL", OPEN_S + part * 150_000 * 60, 150_000);
        assert_eq!(host.write_lines(&token, "market", &some).status, 204);
    }
    let said = host.run(&["series", "query", "--measurement", "bar.1m.AAPL", "--format", "ndjson"]);
    said.fails(1, &["the rows end before the answer does"]);
    let last = said.out.lines().last().unwrap();
    assert!(last.contains("limits.query_rows") && last.starts_with("{\"error\""), "{last}");
    host.run(&["series", "query", "--measurement", "bar.1m.AAPL"]).fails(1, &["limits.query_rows"]);
}

#[test]
fn named_queries_over_http_check_their_parameters_before_the_guest_is_called() {
    let host = market();
    let token = host.token("reader", "read");
    let get = |path: &str| host.http("GET", path, Some(&token), b"");
    let answer = get("/v1/queries/vwap?symbol=AAPL&every=1%20min");
    assert_eq!((answer.status, answer.json()["rows"].as_u64()), (200, Some(10)));
    let posted =
        host.http("POST", "/v1/queries/vwap", Some(&token), br#"{"symbol":"AAPL","every":60000000000}"#);
    assert_eq!(posted.json(), answer.json());
    for (path, words) in [
        ("/v1/queries/vwap", vec!["`symbol` is missing"]),
        ("/v1/queries/vwap?symbol=AAPL&every=soon&foo=1", vec!["`every` is `soon`", "no parameter `foo`"]),
        ("/v1/queries/vwap?symbol=*", vec!["symbol"]),
        ("/v1/queries/nothing", vec!["no query `nothing`"]),
    ] {
        let answer = get(path);
        assert!((400..500).contains(&answer.status), "{path}: {answer:?}");
        let text = &answer.body;
        assert!(words.iter().all(|w| text.contains(w)), "{path}: {text}");
    }
    assert_eq!(host.http("GET", "/v1/queries", None, b"").status, 401);
    assert_eq!(get("/v1/queries").json().as_array().unwrap().len(), 4);
}

#[test]
fn every_hostile_query_ends_in_a_clear_error_and_the_host_goes_on() {
    let mut host = Host::new().with(&plugin(
        "askew",
        "askew",
        "query-builder",
        "[plugins.askew.grants.series]\nread = [\"market/bar.*\"]\n[plugins.askew.limits]\ndeadline = \"300 ms\"\n",
    ));
    host.serve();
    let token = host.token("feed", "write");
    let lines = bars("AAPL", OPEN_S, 70_000) + &format!("tick,symbol=AAPL price=1,size=1 {OPEN_S}\n");
    assert_eq!(host.write_lines(&token, "market", &lines).status, 204);
    assert_eq!(host.run(&["--json", "queries", "run", "good"]).json()["rows"], 70_000);
    for (name, words) in [
        ("beyond", vec!["market/tick.AAPL", "series.read"]),
        ("everything", vec!["series.read"]),
        ("nonsense", vec!["no query"]),
        ("unknown-key", vec!["felds"]),
        ("loops", vec!["limits.deadline"]),
        ("traps", vec!["trapped"]),
        ("refuses", vec!["not with {\"n\":1}"]),
        ("other-columns", vec!["close2"]),
        ("infinite", vec!["finite"]),
        ("lies", vec!["values for"]),
        ("shouts", vec!["limits."]),
    ] {
        let said = host.run(&["queries", "run", name]);
        said.fails(1, &words);
        assert!(!said.err.contains('\u{1b}'), "{name}: {said:?}");
        goes_on(&host, name);
    }
    host.run(&["queries", "run", "good", "n=one"]).fails(1, &["`n` is `one`"]);
    host.run(&["queries", "run", "good", "n"]).fails(2, &["KEY=VALUE"]);
    host.run(&["plugins", "run", "askew"]).fails(1, &["query-builder", "shiphold queries"]);
    host.run(&["plugins", "disable", "askew"]).ok();
    host.run(&["queries", "run", "good"]).fails(1, &["disabled"]);
}

#[test]
fn a_plugin_that_cannot_say_what_it_offers_is_not_loaded() {
    for (config, words) in [
        ("refuses = 1", vec!["no queries today"]),
        ("loops = 1", vec!["limits.deadline"]),
        ("twice = 1", vec!["two queries `good`"]),
        ("many = 1", vec!["64"]),
    ] {
        let host = Host::new().with(&plugin(
            "askew",
            "askew",
            "query-builder",
            &format!("[plugins.askew.grants.series]\nread = [\"market/*\"]\n[plugins.askew.limits]\ndeadline = \"300 ms\"\n[plugins.askew.config]\n{config}\n"),
        ));
        let status = status(&host, "askew");
        let error = status["error"].as_str().unwrap_or_default();
        assert!(words.iter().all(|w| error.contains(w)), "{config}: {status}");
        assert_eq!(host.run(&["--json", "queries", "list"]).json(), json!([]));
    }
}

#[test]
fn a_grant_that_a_world_cannot_use_is_refused() {
    for (world, component, grant) in [
        ("skill-indexer", "finance-index", "clock = true"),
        ("skill-indexer", "finance-index", "[plugins.p.grants.series]\nread = [\"market/*\"]"),
        ("query-builder", "market-queries", "random = true"),
        ("query-builder", "market-queries", "[plugins.p.grants.series]\nwrite = [\"market/*\"]"),
    ] {
        let table =
            if grant.starts_with('[') { grant.to_string() } else { format!("[plugins.p.grants]\n{grant}") };
        let host = Host::new().with(&plugin("p", component, world, &table));
        host.run(&["check"]).fails(2, &["plugins.p.grants"]);
    }
    let host = Host::new().with(&plugin("p", "finance-index", "skill-indexer", "schedule = \"every 1 min\""));
    host.run(&["check"]).fails(2, &["schedule", "skill-indexer"]);
}
