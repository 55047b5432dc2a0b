//! Prices to the last digit: written in every way, asked in every form, and never read with another scale.

use crate::support::{Host, guests, request};
use serde_json::json;

const BARS: &str = "[[series.decimals]]\nmeasurement = \"bar.*\"\nfields = [\"open\", \"high\", \"low\", \"close\"]\nscale = 8\n";

#[test]
fn a_host_keeps_prices_to_the_last_digit() {
    story(Host::new());
}

/// What both engines do alike; the host's manifest chooses one.
pub fn story(host: Host) {
    let mut host = host.with(BARS);
    host.run(&["check"]).ok();
    host.serve();
    let token = host.token("trader", "write");
    // Seventeen digits: a float has fewer.
    let line = |close: &str, time: i64| format!("bar,symbol=KO,timeframe=1m close={close},volume=7 {time}\n");
    let lines = line("123456789.01234567", 0) + &line("0.1", 60) + &line("100i", 120);
    assert_eq!(host.write_lines(&token, "market", &lines).status, 204);
    let said = host.write_lines(&token, "market", &(line("5", 180) + &line("0.000000001", 240)));
    assert_eq!(said.status, 422, "{said:?}");
    for word in ["dropped=1", "`0.000000001` is no decimal(8)", "already exists as type decimal(8)"] {
        assert!(said.body.contains(word), "{word}: {said:?}");
    }
    // A file of bars.
    let file = host.path().join("bars.csv");
    std::fs::write(&file, "date,open,high,low,close\n2024-01-02,1,2.5,0.5,92233720368.54775807\n").unwrap();
    let import = ["series", "import", file.to_str().unwrap(), "--symbol", "KO", "--timeframe", "1d"];
    host.run(&import).fails(1, &["line 2", "do not enclose"]);
    std::fs::write(&file, "date,open,high,low,close\n2024-01-02,1,92233720368.54775807,0.5,1.000000001\n")
        .unwrap();
    // More digits than are kept: the row is refused, as by every write.
    let said = host.run(&import);
    assert!(said.code == 1 && said.out.contains("1 rows refused"), "{said:?}");
    std::fs::write(&file, "date,open,high,low,close\n2024-01-02,1,92233720368.54775807,0.5,2\n").unwrap();
    host.run(&import).ok();

    let want = ["123456789.01234567", "0.10000000", "100.00000000", "5.00000000"];
    let ask = |accept: &str, query: &serde_json::Value| {
        let auth = format!("Token {token}");
        let headers =
            [("Authorization", auth.as_str()), ("Accept", accept), ("Content-Type", "application/json")];
        let answer = request(&host.url("/v1/series/query"), "POST", &headers, query.to_string().as_bytes());
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    };
    let rows = json!({"measurement": "bar.1m.KO", "fields": ["close"]});
    let table: serde_json::Value = serde_json::from_str(&ask("application/json", &rows)).unwrap();
    assert_eq!(table["columns"][1], json!({"name": "close", "type": "decimal(8)", "values": want}));
    let lines = ask("application/x-ndjson", &rows);
    assert!(lines.lines().next().unwrap().contains("\"close\":\"123456789.01234567\""), "{lines}");
    let csv = ask("text/csv", &rows);
    assert!(csv.contains(",123456789.01234567") && csv.contains(",100.00000000"), "{csv}");
    let day =
        json!({"text": "SELECT min(close), max(close), sum(close), mean(close) FROM bar.1m.KO GROUP BY 1d"});
    let table: serde_json::Value = serde_json::from_str(&ask("application/json", &day)).unwrap();
    let cell = |column: usize| table["columns"][column]["values"][0].clone();
    assert_eq!([cell(1), cell(2), cell(3)], ["0.10000000", "123456789.01234567", "123456894.11234567"]);
    assert_eq!(table["columns"][4]["type"], "float");
    let high = host.run(&["--json", "series", "latest", "--measurement", "bar.1d.KO"]).json().to_string();
    assert!(high.contains("\"92233720368.54775807\""), "{high}");
    let flux = "from(bucket: \"market\") |> range(start: 0) |> filter(fn: (r) => r._measurement == \"bar.1m.KO\" and r._field == \"close\")";
    let asked = json!({"query": flux, "dialect": {"annotations": ["datatype"]}}).to_string();
    let headers = [("Authorization", &*format!("Token {token}")), ("Content-Type", "application/json")];
    let said = request(&host.url("/api/v2/query?org=o"), "POST", &headers, asked.as_bytes());
    assert!(said.body.contains("double") && said.body.contains(",0.1,"), "{said:?}");
    let out = host.path().join("out.csv");
    host.run(&["series", "export", "bar.1m.*", "--to", out.to_str().unwrap()]).ok();
    let text = std::fs::read_to_string(&out).unwrap();
    assert!(text.contains("close:decimal(8)") && text.contains(",123456789.01234567,"), "{text}");

    // Another scale, while the host runs and when it does not; and none at all.
    let right = std::fs::read_to_string(host.manifest()).unwrap();
    for (wrong, word) in [
        (right.replace("scale = 8", "scale = 4"), "decimal(4) would read as other numbers"),
        (right.replace(BARS, ""), "whole numbers without its declaration"),
        (
            right.replace("\"open\", ", "\"open\", \"volume\", "),
            "`volume` of `market/bar.1m.KO` holds values of type float",
        ),
    ] {
        host.edit(|_| wrong.clone());
        host.run(&["check"]).fails(2, &["series.decimals", word, "put [[series.decimals]] back"]);
    }
    host.kill_nine();
    host.run(&["check"]).fails(2, &["series.decimals", "`volume`"]);
    host.edit(|_| right.replace("scale = 8", "scale = 4"));
    host.run(&["check"]).fails(2, &["series.decimals", "decimal(4) would read as other numbers"]);
    host.run(&["serve"])
        .fails(1, &["decimal(4) would read as other numbers", "hint: put [[series.decimals]] back"]);
    host.edit(|_| right.clone());
    host.run(&["check"]).ok();
    let again =
        host.run(&["--json", "series", "query", "--measurement", "bar.1m.KO", "--fields", "close"]).json();
    assert_eq!(again["columns"][1]["values"], json!(want));
}

/// A guest that knows only floats reads prices; one that names the scale reads units.
#[test]
fn guests_read_floats_or_units() {
    let component = guests().join("sums.wasm");
    let plugin = |name: &str| {
        format!(
            "[plugins.{name}]\ncomponent = \"{}\"\nworld = \"query-builder\"\n[plugins.{name}.grants.series]\nread = [\"market/*\"]\n",
            component.display()
        )
    };
    let mut host = Host::new()
        .with("[[series.decimals]]\nmeasurement = \"tick.*\"\nfields = [\"price\"]\nscale = 3\n")
        .with(&plugin("sums"));
    host.serve();
    let token = host.token("trader", "write");
    let lines = "tick,symbol=SUM price=100.125 1\ntick,symbol=SUM price=0.375 2\n";
    assert_eq!(host.write_lines(&token, "market", lines).status, 204);
    let sum = |name: &str| {
        let said = host.run(&["--json", "queries", "run", name]).json();
        said["columns"].as_array().unwrap().iter().find(|c| c["name"] == "sum").unwrap()["values"][0].clone()
    };
    assert_eq!(sum("given"), 100.5);
    assert_eq!(sum("read"), 100.5);
    assert_eq!(sum("units"), 100_500.0);
}
