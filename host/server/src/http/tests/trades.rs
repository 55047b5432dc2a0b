//! The trading record: every route, and what each refuses.

use super::*;
use serde_json::json;

async fn open(host: &Host) {
    host.ask("POST", "/v1/trades/accounts", r#"{"name":"main","currency":"USD"}"#).await.ok();
    let instrument =
        r#"{"name":"BTC/USDT","kind":"crypto","currency":"USD","lot":"0.001","measurement":"bar.1d.BTC"}"#;
    host.ask("POST", "/v1/trades/instruments", instrument).await.ok();
}

#[tokio::test]
async fn every_route_answers() {
    let host = Host::new("");
    open(&host).await;
    let of = "/v1/trades/instruments/BTC%2FUSDT";
    let alias = host.ask("POST", &format!("{of}/aliases"), r#"{"alias":"XBT","since":"2020-01-01"}"#).await;
    assert_eq!(alias.status, 201, "{}", alias.text());
    host.ask(
        "POST",
        &format!("{of}/terms"),
        r#"{"since":"2026-01-01","lot":"0.01","measurement":"bar.1d.BTC"}"#,
    )
    .await
    .ok();
    let batch = json!({ "account": "main", "fills": [
        { "client_id": "f1", "instrument": "XBT", "side": "buy", "quantity": "1.5", "price": "60000.25", "time": "2025-06-26T13:30:00Z" },
    ]});
    let answer = host.ask("POST", "/v1/trades/batch", batch.to_string()).await.ok().json();
    assert_eq!((&answer["recorded"], &answer["fills"][0]["client_id"]), (&json!(1), &json!("f1")));
    let at = "/v1/trades/accounts/main";
    let fills = host.ask("GET", &format!("{at}/fills?instrument=XBT&since=2025-06-26"), "").await.ok().json();
    assert_eq!((&fills[0]["instrument"], &fills[0]["price"]), (&json!("BTC/USDT"), &json!("60000.25")));
    let none = host.ask("GET", &format!("{at}/fills?until=2025-06-26"), "").await.ok().json();
    assert_eq!(none, json!([]));
    let held = host.ask("POST", &format!("{at}/positions"), r#"{"BTC/USDT":"61000.25"}"#).await.ok().json();
    assert_eq!(held["positions"][0]["unrealised"], "1500");
    let split = r#"{"instrument":"BTC/USDT","time":"2025-07-01","kind":"split","new":2,"old":1}"#;
    let split = host.ask("POST", "/v1/trades/actions", split).await.ok().json();
    let held = host.ask("GET", &format!("{at}/positions"), "").await.ok().json();
    assert_eq!(held["positions"][0]["quantity"], "3");
    let then = held["positions"][0].clone();
    host.ask("POST", &format!("{at}/rebuild"), "").await.ok();
    assert_eq!(host.ask("GET", &format!("{at}/positions"), "").await.ok().json()["positions"][0], then);
    let shown = host.ask("GET", of, "").await.ok().json();
    assert_eq!((&shown["instrument"]["lot"], &shown["actions"][0]["new"]), (&json!("0.01"), &json!(2)));
    let void = json!({ "instrument": "BTC/USDT", "seq": split["seq"], "reason": "no" });
    host.ask("POST", "/v1/trades/actions/void", void.to_string()).await.ok();
    let roll = r#"{"chain":"BTC","time":"2025-01-01","instrument":"BTC/USDT"}"#;
    assert_eq!(host.ask("POST", "/v1/trades/chains", roll).await.ok().json()[0]["instrument"], "BTC/USDT");
    assert_eq!(host.ask("GET", "/v1/trades/chains/BTC", "").await.ok().json().as_array().unwrap().len(), 1);
    assert_eq!(host.ask("GET", "/v1/trades/bars?instrument=XBT", "").await.ok().json()["rows"], 0);
    for list in ["orders", "cash", "statements"] {
        assert_eq!(host.ask("GET", &format!("{at}/{list}"), "").await.ok().json(), json!([]), "{list}");
    }
    assert_eq!(host.ask("GET", "/v1/trades/accounts", "").await.ok().json()[0]["name"], "main");
    assert_eq!(
        host.ask("GET", "/v1/trades/instruments?limit=1", "").await.ok().json()[0]["name"],
        "BTC/USDT"
    );
    let mapping = json!({ "time": "t", "instrument": "i", "quantity": "q", "price": "p" });
    let statement = json!({ "csv": "t,i,q,p\n2025-06-26T13:30:00Z,XBT,1,60000.25\n", "mapping": mapping });
    let made = host.ask("POST", &format!("{at}/statements"), statement.to_string()).await;
    assert_eq!((made.status.as_u16(), &made.json()["differences"]), (201, &json!(1)), "{}", made.text());
    let one = format!("{at}/statements/{}", made.json()["seq"]);
    assert_eq!(host.ask("GET", &one, "").await.ok().json()[0]["kind"], "differs");
    let resolve = |number: i64| json!({ "number": number, "action": "theirs", "reason": "r" }).to_string();
    host.ask("POST", &format!("{one}/resolve"), resolve(0)).await.problem(400, "invalid");
    host.ask("POST", &format!("{one}/resolve"), resolve(1)).await.ok();
    host.ask("POST", &format!("{one}/resolve"), resolve(1)).await.problem(409, "conflict");
    assert_eq!(host.ask("GET", &format!("{one}?open=true"), "").await.ok().json(), json!([]));
    let figures = "skill=s&version=1.0.0&start=2025-06-26&end=2025-06-27";
    host.ask("GET", &format!("{at}/performance?{figures}&capital=100"), "").await.problem(404, "not-found");
    host.ask("GET", &format!("{at}/performance?{figures}&capital=-1"), "").await.problem(400, "invalid");
}

#[tokio::test]
async fn what_is_wrong_is_said() {
    let host = Host::new("");
    open(&host).await;
    let fill = |extra: &str| {
        format!(
            r#"{{"account":"main","fills":[{{"client_id":"f","instrument":"BTC/USDT","side":"buy","quantity":"1","price":"1","time":1{extra}}}]}}"#
        )
    };
    for (body, status, code) in [
        (fill(r#","fee":0.1"#), 400, "invalid"),
        (fill(r#","unknown":1"#), 400, "invalid"),
        (fill(r#","void":true"#), 400, "invalid"),
        (fill(r#","corrects":"g","reason":"r""#), 404, "not-found"),
        (fill("").replace("\"1\"", "\"0.0001\""), 400, "invalid"),
        (fill("").replace("\"1\"", "\"-1\""), 400, "invalid"),
        (fill("").replace("\"1\"", "\"1e400\""), 400, "invalid"),
        (fill("").replace(":1}", ":\"now()\"}"), 400, "invalid"),
        (fill("").replace("main", "other"), 404, "not-found"),
        (fill("").replace("BTC/USDT", "ETH"), 404, "not-found"),
        ("{".into(), 400, "invalid"),
    ] {
        host.ask("POST", "/v1/trades/batch", body).await.problem(status, code);
    }
    let good = fill("");
    host.ask("POST", "/v1/trades/batch", good.clone()).await.ok();
    let other = good.replace("\"price\":\"1\"", "\"price\":\"2\"");
    host.ask("POST", "/v1/trades/batch", other).await.problem(409, "conflict");
    for path in [
        "/v1/trades/accounts/nobody/positions",
        "/v1/trades/accounts/main/orders/none",
        "/v1/trades/accounts/main/statements/7",
        "/v1/trades/instruments/none",
        "/v1/trades/bars?chain=none",
    ] {
        host.ask("GET", path, "").await.problem(404, "not-found");
    }
    for path in [
        "/v1/trades/bars",
        "/v1/trades/bars?instrument=BTC%2FUSDT&adjust=much",
        "/v1/trades/accounts/main/positions?at=tomorrow",
        "/v1/trades/accounts/main/fills?nonsense=1",
        "/v1/trades/accounts/main/statements/seven",
    ] {
        host.ask("GET", path, "").await.problem(400, "invalid");
    }
    host.ask("GET", "/v1/trades/accounts/main/fills?limit=10001", "").await.problem(413, "limit");
}
