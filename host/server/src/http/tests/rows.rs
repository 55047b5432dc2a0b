//! Rows in and out: InfluxDB's route, queries, imports, deletions.

use super::*;
use serde_json::json;
use std::io::Write as _;

fn bars(count: i64) -> String {
    (0..count)
        .map(|i| {
            let p = 100.0 + i as f64 / 10.0;
            format!("bar,symbol=A,timeframe=1m open={p},high={p},low={p},close={p},volume=10 {}\n", i * 60)
        })
        .collect()
}

const WRITE: &str = "/api/v2/write?org=o&bucket=market&precision=s";

#[tokio::test]
async fn bars_go_in_as_line_protocol_and_come_out_as_json_and_csv() {
    let host = Host::new("");
    let token = host.token(Scope::Write);
    let written = host.tcp("POST", WRITE, Some(&token), bars(3)).await;
    assert_eq!((written.status.as_u16(), written.body.len()), (204, 0), "{}", written.text());
    let body = r#"{"measurement":"bar.1m.A","fields":["close"],"limit":2}"#;
    let got = host.tcp("POST", "/v1/series/query", Some(&token), body).await.ok().json();
    assert_eq!(got["rows"], 2);
    assert_eq!(got["truncated"], true);
    let time = &got["columns"][0];
    assert_eq!((&time["name"], &time["values"]), (&json!("time"), &json!([0, 60_000_000_000_i64])));
    assert_eq!(got["columns"][1], json!({ "name": "close", "type": "float", "values": [100.0, 100.1] }));
    let csv = send(&host.socket, "POST", "/v1/series/query", &[("accept", "text/csv")], body).await.ok();
    assert_eq!(csv.header("content-type"), "text/csv; charset=utf-8");
    assert_eq!(csv.text(), "time,close\n1970-01-01T00:00:00Z,100\n1970-01-01T00:01:00Z,100.1\n");
    for list in [
        host.ask("GET", "/v1/series?measurement=bar.*", "").await,
        host.ask("POST", "/v1/series/list", r#"{"measurement":"bar.*"}"#).await,
    ] {
        assert_eq!(list.ok().json()[0]["key"]["measurement"], "bar.1m.A");
    }
    for latest in [
        host.ask("GET", "/v1/series/latest?measurement=bar.1m.A", "").await,
        host.ask("POST", "/v1/series/latest", "").await,
    ] {
        assert!(latest.ok().text().contains("100.2"));
    }
    host.ask("GET", "/v1/series/stats", "").await.ok();
    host.ask("POST", "/v1/series/seal", "").await.ok();
    host.ask("POST", "/v1/series/compact", "").await.ok();
    assert_eq!(host.ask("POST", "/v1/series/verify", "").await.ok().json(), json!([]));
    let wrong = host.ask("POST", "/v1/series/query", r#"{"measurement":"bar.1m.A","wher":1}"#).await;
    assert!(wrong.problem(400, "invalid")["detail"].as_str().unwrap().contains("wher"));
}

#[tokio::test]
async fn influxdbs_errors_in_its_own_form() {
    let host = Host::new("[limits]\nwrite_rows = 100");
    let (read, write) = (host.token(Scope::Read), host.token(Scope::Write));
    let code = |got: &Got| (got.status.as_u16(), got.json()["code"].as_str().unwrap().to_string());
    let refused = host.tcp("POST", WRITE, Some(&write), "m v=1 1\nm v= 2\n").await;
    assert_eq!(code(&refused), (400, "invalid".into()));
    assert_eq!(refused.header("content-type"), "application/json");
    assert!(refused.json()["message"].as_str().unwrap().contains("m v= 2"), "{}", refused.text());
    assert_eq!(code(&host.tcp("POST", WRITE, None, "m v=1 1").await), (401, "unauthorized".into()));
    assert_eq!(code(&host.tcp("POST", WRITE, Some(&read), "m v=1 1").await), (403, "forbidden".into()));
    assert_eq!(code(&host.tcp("GET", WRITE, Some(&write), "").await), (405, "method not allowed".into()));
    assert_eq!(code(&host.tcp("POST", "/api/v2/tasks", Some(&write), "").await), (404, "not found".into()));
    let precision = "/api/v2/write?precision=h";
    assert_eq!(code(&host.tcp("POST", precision, Some(&write), "m v=1 1").await), (400, "invalid".into()));
    assert_eq!(host.tcp("POST", WRITE, Some(&write), bars(100)).await.status, 204);
    let many = host.tcp("POST", WRITE, Some(&write), bars(101)).await;
    assert_eq!(code(&many), (413, "request too large".into()));
    assert!(many.text().contains("write_rows"), "{}", many.text());
}

#[tokio::test]
async fn gzip_is_taken_and_a_bomb_is_not() {
    let host = Host::new("[http]\nbody_max = \"64 KiB\"");
    let gz = |content: &[u8]| {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gz.write_all(content).unwrap();
        gz.finish().unwrap()
    };
    let encoding = [("content-encoding", "gzip")];
    let post = async |body: Vec<u8>| send(&host.socket, "POST", WRITE, &encoding, body).await;
    assert_eq!(post(gz(bars(500).as_bytes())).await.status, 204);
    let bomb = gz(&vec![b'\n'; 16 << 20]);
    assert!(bomb.len() < 64 << 10, "the bomb itself fits: {}", bomb.len());
    let refused = post(bomb).await;
    assert_eq!((refused.status.as_u16(), &refused.json()["code"]), (413, &json!("request too large")));
    assert_eq!(post(b"no gzip".to_vec()).await.status, 400);
}

#[tokio::test]
async fn a_csv_file_is_imported_as_it_comes() {
    let host = Host::new("");
    let csv = "Date,Open,High,Low,Close,Volume\n2024-01-02,1,2,0.5,1.5,100\n2024-01-03,1,2,0.5,1.6,100\n";
    let at = "/v1/series/import?symbol=X&timeframe=1d";
    let lines = [("accept", "application/x-ndjson")];
    let got = send(&host.socket, "POST", at, &lines, csv).await.ok();
    let last: Value = serde_json::from_str(got.text().lines().last().unwrap()).unwrap();
    assert_eq!(last["result"]["written"], 2, "{}", got.text());
    let wrong = host.ask("POST", at, csv.replace("1.6", "two")).await.problem(400, "invalid");
    assert!(wrong["detail"].as_str().unwrap().contains("line 3"), "{wrong}");
    host.ask("POST", "/v1/series/import?symbol=X", csv).await.problem(400, "invalid");
}

#[tokio::test]
async fn series_are_exported_as_files() {
    let host = Host::new("[limits]\nquery_rows = 10");
    host.ask("POST", WRITE, bars(20_000)).await.ok();
    let csv = host.ask("GET", "/v1/series/export?measurement=bar.*&format=csv&fields=close", "").await.ok();
    assert_eq!(csv.header("content-type"), "text/csv; charset=utf-8");
    assert_eq!(csv.text().lines().count(), 20_001, "no limit of queries holds");
    assert!(csv.text().starts_with("time,measurement,close:float\n"), "{}", &csv.text()[..80]);
    let body = r#"{"measurement":"bar.1m.A","start":60000000000,"end":"1970-01-01T00:03:00Z"}"#;
    let parquet = host.ask("POST", "/v1/series/export", body).await.ok();
    assert_eq!(parquet.header("content-type"), "application/vnd.apache.parquet");
    assert!(parquet.body.starts_with(b"PAR1") && parquet.body.ends_with(b"PAR1"));
    let wrong = host.ask("POST", "/v1/series/export", r#"{"measurement":"bar.1m.A","fields":["z"]}"#).await;
    assert!(wrong.problem(400, "invalid")["detail"].as_str().unwrap().contains("`z`"));
    host.ask("POST", "/v1/series/export?format=xml", body).await.problem(400, "invalid");
    assert_eq!(host.tcp("POST", "/v1/series/export", None, body).await.status, 401);
}

#[tokio::test]
async fn a_deletion_names_what_it_deletes() {
    let host = Host::new("");
    host.ask("POST", WRITE, bars(10)).await.ok();
    host.ask("POST", "/v1/series/delete", "{}").await.problem(400, "invalid");
    host.ask("POST", "/v1/series/delete", r#"{"measurement":"*","start":5,"end":1}"#)
        .await
        .problem(400, "invalid");
    let body = r#"{"measurement":"bar.1m.A","start":"1970-01-01","end":"1970-01-01T00:05:00Z"}"#;
    assert_eq!(host.ask("POST", "/v1/series/delete", body).await.ok().json()["series"], 1);
    let left = host.ask("POST", "/v1/series/query", r#"{"measurement":"bar.1m.A"}"#).await.ok().json();
    assert_eq!(left["rows"], 5);
}

#[tokio::test]
async fn a_long_answer_comes_in_parts() {
    let host = Host::new("");
    host.ask("POST", WRITE, bars(20_000)).await.ok();
    let got = host.ask("POST", "/v1/series/query", r#"{"measurement":"bar.1m.A"}"#).await.ok();
    assert!(got.body.len() > 256 << 10 && got.header("content-length").is_empty(), "{}", got.body.len());
    assert_eq!(got.json()["rows"], 20_000);
}

#[tokio::test]
async fn a_text_is_a_body_of_its_own_and_pages_go_on_in_every_form() {
    let host = Host::new("");
    host.ask("POST", WRITE, bars(5)).await.ok();
    let text = "SELECT close FROM \"bar.1m.A\" LIMIT 2";
    let ask = async |path: String, accept: &str, body: &str| {
        let headers = [("accept", accept), ("content-type", "application/sql; charset=utf-8")];
        send(&host.socket, "POST", &path, &headers, body.to_string()).await
    };
    let query = |after: &str| match after {
        "" => "/v1/series/query".to_string(),
        after => format!("/v1/series/query?after={after}"),
    };
    let (mut after, mut pages) = (String::new(), Vec::new());
    loop {
        let document = ask(query(&after), "*/*", text).await.ok().json();
        let csv = ask(query(&after), "text/csv", text).await.ok();
        let lines = ask(query(&after), "application/x-ndjson", text).await.ok();
        let next = document["next"].as_str().unwrap_or_default().to_string();
        assert_eq!(csv.header("shiphold-next"), next);
        let last: Value = serde_json::from_str(lines.text().lines().last().unwrap()).unwrap();
        assert_eq!(last["next"].as_str().unwrap_or_default(), next);
        pages.push((csv.text().lines().count() - 1, lines.text().lines().count()));
        if next.is_empty() {
            break;
        }
        after = next;
    }
    assert_eq!(pages, [(2, 3), (2, 3), (1, 1)], "rows, and lines with the one that is no row");
    let told = ask("/v1/series/explain".into(), "*/*", text).await.ok().json();
    assert_eq!(told["rows"], 2);
    let wrong = ask(query(""), "*/*", "SELECT close FORM m").await.problem(400, "invalid");
    assert!(wrong["detail"].as_str().unwrap().contains("column 14"), "{wrong}");
    ask("/v1/series/query?limit=5".into(), "*/*", text).await.problem(400, "invalid");
    let latin = [("content-type", "application/sql")];
    send(&host.socket, "POST", "/v1/series/query", &latin, vec![0xff]).await.problem(400, "invalid");
    let plain = [("content-type", "text/plain")];
    let refused = send(&host.socket, "POST", "/v1/series/query", &plain, text).await;
    refused.problem(415, "unsupported-media-type");
}

#[tokio::test]
async fn the_newest_rows_and_the_gaps_as_they_were_known() {
    let host = Host::new("[[series.revisions]]\nmeasurement = \"bar.*\"\nwindow = \"1 d\"");
    host.ask("POST", WRITE, bars(3)).await.ok();
    let now =
        || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as i64;
    let then = now();
    std::thread::sleep(std::time::Duration::from_millis(2));
    host.ask("POST", WRITE, "bar,symbol=A,timeframe=1m close=7 120\nbar,symbol=A,timeframe=1m close=8 300\n")
        .await
        .ok();
    let close = |got: Value| {
        let fields = got[0]["fields"].as_array().unwrap().clone();
        fields.iter().find(|f| f["name"] == "close").map(|f| (f["time"].clone(), f["value"].clone())).unwrap()
    };
    let ask = async |path: &str, body: Value| host.ask("POST", path, body.to_string()).await.ok().json();
    let minute = 60_000_000_000_i64;
    assert_eq!(close(ask("/v1/series/latest", json!({})).await), (json!(5 * minute), json!(8.0)));
    let known = ask("/v1/series/latest", json!({ "as_known_at": then })).await;
    assert_eq!(close(known.clone()), (json!(2 * minute), json!(100.2)));
    let address = format!("/v1/series/latest?as_known_at={then}");
    assert_eq!(host.ask("GET", &address, "").await.ok().json(), known);
    assert_eq!(ask("/v1/series/coverage", json!({})).await[0]["missing"], 2);
    let known = ask("/v1/series/coverage", json!({ "as_known_at": then })).await;
    assert_eq!((&known[0]["rows"], &known[0]["missing"]), (&json!(3), &json!(0)));
    // Before the rule was there, nothing was kept.
    let early = json!({ "as_known_at": "1999-01-01" }).to_string();
    let refused = host.ask("POST", "/v1/series/latest", early).await;
    assert!(refused.status.is_client_error(), "{}", refused.text());
}

#[tokio::test]
async fn a_text_pages_and_an_explanation() {
    let host = Host::new(
        "[calendars.early]\ntimezone = \"UTC\"\nopen = \"00:00\"\nclose = \"00:02\"\nweekdays = [\"thu\"]",
    );
    let token = host.token(Scope::Write);
    host.tcp("POST", WRITE, Some(&token), bars(3)).await;
    let text = r#"SELECT close FROM "bar.1m.A" LIMIT 2"#;
    let page = host.ask("POST", "/v1/series/query", json!({ "text": text }).to_string()).await.ok().json();
    assert_eq!((&page["rows"], &page["truncated"]), (&json!(2), &json!(true)));
    let after = page["next"].as_str().unwrap();
    let rest = json!({ "text": text, "after": after }).to_string();
    let rest = host.ask("POST", "/v1/series/query", rest).await.ok().json();
    assert_eq!(rest["columns"][1]["values"], json!([100.2]));
    assert!(rest.get("next").is_none());
    // In an address, as a browser or a spreadsheet asks.
    let address = format!("/v1/series/query?q=SELECT%20close%20FROM%20bar.1m.A%20LIMIT%202&after={after}");
    assert_eq!(host.ask("GET", &address, "").await.ok().json(), rest);
    let wrong =
        host.ask("GET", "/v1/series/query?q=SELECT%20close%20FORM%20m", "").await.problem(400, "invalid");
    assert!(wrong["detail"].as_str().unwrap().contains("column 14"), "{wrong}");
    let session = r#"{"measurement":"bar.1m.A","session":"early"}"#;
    let told = host.ask("POST", "/v1/series/explain", session).await.ok().json();
    assert_eq!((&told["rows_read"], &told["rows"], &told["series"]), (&json!(3), &json!(2), &json!(1)));
    assert_eq!(told["steps"], json!(["leave out rows outside of the session"]));
    host.ask("POST", "/v1/series/explain", r#"{"measurement":"bar.1m.A","session":"late"}"#)
        .await
        .problem(400, "invalid");
    // Whoever may not read gets no explanation either.
    host.tcp("POST", "/v1/series/explain", None, session).await.problem(401, "unauthenticated");
}
