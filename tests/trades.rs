//! The trading record as a trader and its operator meet it: from a signal to performance, killed in the middle, against a statement.

use crate::support::{Host, try_request};
use serde_json::{Value, json};
use std::sync::Mutex;
use std::time::Duration;

/// `kill -9` this many times.
const KILLS: u64 = 12;
/// Fills of a batch.
const BATCH: u64 = 200;

fn set_up(host: &Host) {
    host.run(&["trades", "account", "open", "main", "--currency", "USD", "--broker", "IB"]).ok();
    let add =
        ["trades", "instrument", "add", "AAPL", "--kind", "equity", "--currency", "USD", "--tick", "0.01"];
    host.run(&[&add[..], &["--measurement", "bar.1d.AAPL"]].concat()).ok();
}

fn write(host: &Host, name: &str, content: &str) -> String {
    std::fs::write(host.path().join(name), content).unwrap();
    name.into()
}

#[test]
fn from_a_signal_to_a_fill_to_a_position_to_performance() {
    let mut host = Host::new();
    let code = write(&host, "s.py", "def run(bars):\n    return 'buy'\n");
    host.run(&["skills", "put", "pullback", "--version", "1.0.0", "--code", &code, "--language", "python"])
        .ok();
    set_up(&host);
    host.serve();
    let token = host.token("trader", "write");
    // Daily closes of three days: 190, 200, 210.
    let day = 1_782_432_000_i64;
    let lines: String = (0..3)
        .map(|i| {
            format!("bar.1d.AAPL open=1,high=2,low=1,close={},volume=10 {}\n", 190 + 10 * i, day + i * 86_400)
        })
        .collect();
    assert_eq!(host.write_lines(&token, "market", &lines).status, 204);
    let ns = |seconds: i64| (day + seconds) * 1_000_000_000;
    let batch = json!({
        "account": "main",
        "orders": [{
            "client_id": "o1", "instrument": "AAPL", "side": "buy", "type": "limit", "quantity": 10, "limit_price": "190.50",
            "skill": "pullback", "version": "1.0.0", "signal": { "rsi": 28.5 }, "time": "2026-06-26T00:00:01Z",
        }],
        "fills": [{
            "client_id": "f1", "order": "o1", "instrument": "AAPL", "side": "buy", "quantity": "10", "price": "190", "fee": "1",
            "time": ns(3_600),
        }],
        "events": [{ "order": "o1", "state": "accepted", "time": ns(2) }],
        "cash": [{ "client_id": "d1", "currency": "USD", "kind": "deposit", "amount": "10000", "time": ns(-60) }],
    });
    let sent = host.http("POST", "/v1/trades/batch", Some(&token), batch.to_string().as_bytes());
    assert_eq!(sent.status, 200, "{sent:?}");
    assert_eq!(sent.json()["recorded"], 4);
    let again = host.http("POST", "/v1/trades/batch", Some(&token), batch.to_string().as_bytes()).json();
    assert_eq!((&again["recorded"], &again["fills"][0]["replayed"]), (&json!(0), &json!(true)));

    let order = host.run(&["--json", "trades", "order", "main", "o1"]).json();
    assert_eq!(
        (&order["state"], &order["filled"], &order["signal"]["rsi"]),
        (&json!("filled"), &json!("10"), &json!(28.5))
    );
    let listed = host.run(&["trades", "orders", "main"]);
    assert!(listed.ok().contains("pullback") && listed.ok().contains("filled"));
    let held = host.run(&["--json", "trades", "positions", "main", "--price", "AAPL=210"]).json();
    assert_eq!(
        (&held["positions"][0]["quantity"], &held["positions"][0]["unrealised"]),
        (&json!("10"), &json!("200"))
    );
    assert_eq!(
        (&held["balances"][0]["cash"], &held["balances"][0]["equity"]),
        (&json!("8099"), &json!("10199"))
    );
    let before = host.run(&["--json", "trades", "positions", "main", "--at", "2026-06-26"]).json();
    assert_eq!((&before["positions"], &before["balances"][0]["cash"]), (&json!([]), &json!("10000")));

    let of = [
        "trades",
        "performance",
        "main",
        "pullback",
        "1.0.0",
        "--start",
        "2026-06-26",
        "--end",
        "2026-06-29",
    ];
    let found = host.run(&[&["--json"][..], &of[..], &["--record"]].concat()).json();
    assert_eq!(
        (&found["equity"], &found["fees"], &found["samples"]),
        (&json!("10199"), &json!("1"), &json!(3))
    );
    assert!((found["returns"].as_f64().unwrap() - 0.0199).abs() < 1e-12);
    let believed = host.run(&["--json", "skills", "believed", "pullback"]).json();
    assert!(
        (believed["versions"][0]["performance"]["returns"].as_f64().unwrap() - 0.0199).abs() < 1e-12,
        "{believed}"
    );

    // A fill of which the broker says something else, and a split, that come later.
    let fill =
        ["trades", "fill", "main", "f1-2", "AAPL", "buy", "10", "189.5", "--time", "2026-06-26T01:00:00Z"];
    host.run(&[&fill[..], &["--corrects", "f1", "--order", "o1"]].concat()).fails(2, &["--reason"]);
    host.run(
        &[&fill[..], &["--corrects", "f1", "--order", "o1", "--fee", "1", "--reason", "price improved"]]
            .concat(),
    )
    .ok();
    host.run(&["trades", "instrument", "split", "AAPL", "2026-06-27", "4", "1"]).ok();
    let held = host.run(&["--json", "trades", "positions", "main"]).json();
    assert_eq!(
        (&held["positions"][0]["quantity"], &held["positions"][0]["cost"]),
        (&json!("40"), &json!("1895"))
    );
    let then = host.run(&["--json", "trades", "positions", "main", "--at", "2026-06-26T12:00:00Z"]).json();
    assert_eq!(then["positions"][0]["quantity"], "10");
    let bars = host.run(&["--json", "trades", "bars", "--instrument", "AAPL"]).json();
    let close = bars["columns"].as_array().unwrap().iter().find(|c| c["name"] == "close").unwrap();
    assert_eq!(close["values"], json!([47.5, 200.0, 210.0]));
    host.run(&["audit", "verify"]).ok();
    host.run(&["verify"]).ok();
}

#[test]
fn a_batch_is_whole_or_absent_whenever_the_host_is_killed() {
    let mut host = Host::new();
    set_up(&host);
    host.serve();
    let token = host.token("trader", "write");
    let body = |n: u64| {
        let fill = |i: u64| {
            json!({
                "client_id": format!("{n}-{i}"), "instrument": "AAPL", "side": "buy", "quantity": "1", "price": "100.25",
                "time": 1_782_432_000_000_000_000_i64 + i64::try_from(n * BATCH + i).unwrap(),
            })
        };
        json!({ "account": "main", "fills": (0..BATCH).map(fill).collect::<Vec<_>>() }).to_string()
    };
    let held = |host: &Host| -> u64 {
        let v = host.run(&["--json", "trades", "positions", "main"]).json();
        v["positions"][0]["quantity"].as_str().map_or(0, |q| q.parse().unwrap())
    };
    // Batches that were acknowledged, and the last that was sent.
    let said = Mutex::new((0_u64, 0_u64));
    for round in 0..KILLS {
        std::thread::scope(|scope| {
            let (shared, token, said, body): (&Host, &str, &Mutex<(u64, u64)>, _) =
                (&host, &token, &said, &body);
            scope.spawn(move || {
                let auth = format!("Bearer {token}");
                loop {
                    // What nobody answered is sent again: it is recorded once.
                    let n = said.lock().unwrap().0 + 1;
                    said.lock().unwrap().1 = n;
                    let answer = try_request(
                        &shared.url("/v1/trades/batch"),
                        "POST",
                        &[("Authorization", &auth)],
                        body(n).as_bytes(),
                    );
                    match answer {
                        Ok(answer) if answer.status == 200 => said.lock().unwrap().0 = n,
                        Ok(other) => panic!("round {round}: {other:?}"),
                        Err(_) => return,
                    }
                }
            });
            std::thread::sleep(Duration::from_millis(60 + round * 11 % 50));
            let killed = std::process::Command::new("kill").args(["-9", &shared.pid().to_string()]).status();
            assert!(killed.unwrap().success());
        });
        host.kill_nine();
        let (acknowledged, sent) = *said.lock().unwrap();
        let there = held(&host);
        assert_eq!(there % BATCH, 0, "round {round}: a torn batch");
        let batches = there / BATCH;
        assert!(
            batches == acknowledged || batches == sent,
            "round {round}: {acknowledged} were acknowledged, {batches} are there"
        );
        host.serve();
    }
    assert!(said.lock().unwrap().0 > 0, "some batches were recorded between the kills");
    let last = said.lock().unwrap().1;
    let answer = host.http("POST", "/v1/trades/batch", Some(&token), body(last).as_bytes());
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(held(&host), last * BATCH);
    let cash: Value =
        host.run(&["--json", "trades", "positions", "main"]).json()["balances"][0]["cash"].clone();
    let cents = last * BATCH * 10_025;
    let want = format!("-{}.{:02}", cents / 100, cents % 100);
    let want = want.trim_end_matches('0').trim_end_matches('.');
    assert_eq!(cash, want);
    host.run(&["audit", "verify"]).ok();
}

#[test]
fn a_statement_is_compared_and_what_differs_is_resolved() {
    let mut host = Host::new();
    set_up(&host);
    let fill = |id: &str, quantity: &str, time: &str| {
        host.run(&["trades", "fill", "main", id, "AAPL", "buy", quantity, "190", "--time", time]).ok();
    };
    fill("f1", "10", "2026-06-26T13:30:00Z");
    fill("f2", "5", "2026-06-26T14:00:00Z");
    fill("f3", "2", "2026-06-26T15:00:00Z");
    let csv = "Date,Ticker,Action,Shares,Price,Commission\n\
               2026-06-26 09:30:00,Apple Inc,BOT,10,190.00,0\n\
               2026-06-26 10:00:01,Apple Inc,BOT,6,190.00,0\n\
               2026-06-26 12:00:00,Apple Inc,SLD,1,191.00,0\n";
    let statement = write(&host, "june.csv", csv);
    let mapping = write(
        &host,
        "broker.toml",
        "time = \"Date\"\ninstrument = \"Ticker\"\nside = \"Action\"\nquantity = \"Shares\"\nprice = \"Price\"\nfee = \"Commission\"\n\
         timezone = \"America/New_York\"\n[instruments]\n\"Apple Inc\" = \"AAPL\"\n",
    );
    for running in [false, true] {
        if running {
            host.serve();
        }
        let compare = ["--json", "trades", "statement", "compare", "main", &statement, "--mapping", &mapping];
        let compared = host.run(&compare).json();
        assert_eq!(
            (&compared["lines"], &compared["matched"]),
            (&json!(3), &json!(if running { 3 } else { 1 })),
            "{compared}"
        );
        if running {
            assert_eq!(compared["differences"], 0);
            break;
        }
        let number = compared["seq"].to_string();
        let open = host.run(&["--json", "trades", "statement", "show", "main", &number, "--open"]).json();
        let kinds: Vec<&str> = open.as_array().unwrap().iter().map(|d| d["kind"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["differs", "missing-there", "missing-here"]);
        for difference in ["1", "2", "3"] {
            let resolve = [
                "trades",
                "statement",
                "resolve",
                "main",
                &number,
                difference,
                "theirs",
                "--reason",
                "confirmed by phone",
            ];
            host.run(&resolve).ok();
            host.run(&resolve).fails(1, &["resolved already"]);
        }
        let held = host.run(&["--json", "trades", "positions", "main"]).json();
        assert_eq!(held["positions"][0]["quantity"], "15");
        assert!(host.run(&["trades", "statement", "list", "main"]).ok().contains("operator"));
    }
    let entries = host.run(&["--json", "audit", "list", "--action", "trades.resolve"]).json();
    assert_eq!(entries.as_array().unwrap().len(), 3);
    let wrong = write(&host, "wrong.toml", "time = \"When\"\n");
    host.run(&["trades", "statement", "compare", "main", &statement, "--mapping", &wrong])
        .fails(1, &["no column `When`", "Date"]);
    let torn = write(&host, "torn.toml", "time =\n");
    host.run(&["trades", "statement", "compare", "main", &statement, "--mapping", &torn])
        .fails(2, &["torn.toml"]);
}
