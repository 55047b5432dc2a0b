//! What InfluxDB's clients ask beside writes: whether the host is ready, buckets, the organisation, deletions, Flux.

use super::*;
use serde_json::json;

const LINES: &str = "bar,symbol=A,timeframe=1m close=1 60\nbar,symbol=A,timeframe=1m close=2 120\n\
                     bar,symbol=B,timeframe=1m close=3 60\ncpu,host=a v=1 60\ncpu,host=b v=2 60\n";

async fn with_rows() -> (Host, String) {
    let host = Host::new("[http]\nbody_max = \"1 MiB\"");
    let token = host.token(Scope::Write);
    host.tcp("POST", "/api/v2/write?bucket=market&precision=s", Some(&token), LINES).await.ok();
    (host, token)
}

#[tokio::test]
async fn anyone_may_ask_whether_it_is_ready() {
    let host = Host::new("");
    let got = host.tcp("GET", "/ready", None, "").await.ok().json();
    assert_eq!(got["status"], "ready");
    assert!(got["up"].as_str().unwrap().ends_with('s'), "{got}");
    assert!(chrono::DateTime::parse_from_rfc3339(got["started"].as_str().unwrap()).is_ok(), "{got}");
}

#[tokio::test]
async fn buckets_are_listed_made_and_found() {
    let (host, token) = with_rows().await;
    let names = |got: &Value| {
        let list = got["buckets"].as_array().unwrap();
        list.iter().map(|b| b["name"].as_str().unwrap().to_string()).collect::<Vec<_>>()
    };
    let orgs = host.tcp("GET", "/api/v2/orgs?org=trader", Some(&token), "").await.ok().json();
    assert_eq!(orgs["orgs"][0]["name"], "trader");
    let org = orgs["orgs"][0]["id"].as_str().unwrap();
    let body = json!({"orgID": org, "name": "later", "retentionRules": []}).to_string();
    let made = host.tcp("POST", "/api/v2/buckets", Some(&token), body.clone()).await;
    assert_eq!(
        (made.status.as_u16(), &made.json()["name"], &made.json()["orgID"]),
        (201, &json!("later"), &json!(org))
    );
    let id = made.json()["id"].as_str().unwrap().to_string();
    assert!(id.len() == 16 && u64::from_str_radix(&id, 16).is_ok());
    let again = host.tcp("POST", "/api/v2/buckets", Some(&token), body).await;
    assert_eq!((again.status.as_u16(), &again.json()["code"]), (422, &json!("conflict")));
    assert_eq!(again.json()["message"], "bucket with name later already exists");
    for (body, status) in [
        (json!({"name": "_x"}), 400),
        (json!({"name": ""}), 400),
        (json!({"orgID": org}), 400),
        (json!({"name": "x", "retentionRules": [{"type": "expire", "everySeconds": 3600}]}), 400),
    ] {
        let got = host.tcp("POST", "/api/v2/buckets", Some(&token), body.to_string()).await;
        assert_eq!((got.status.as_u16(), &got.json()["code"]), (status, &json!("invalid")), "{body}");
    }
    let get = async |path: &str| host.tcp("GET", path, Some(&token), "").await;
    assert_eq!(names(&get("/api/v2/buckets?org=o").await.ok().json()), ["later", "market"]);
    assert_eq!(names(&get("/api/v2/buckets?name=market").await.ok().json()), ["market"]);
    assert!(names(&get("/api/v2/buckets?name=nope").await.ok().json()).is_empty());
    let page = get("/api/v2/buckets?limit=1").await.ok().json();
    assert_eq!(names(&page), ["later"]);
    assert_eq!(names(&get(page["links"]["next"].as_str().unwrap()).await.ok().json()), ["market"]);
    assert_eq!(names(&get(&format!("/api/v2/buckets?after={id}")).await.ok().json()), ["market"]);
    assert_eq!(get(&format!("/api/v2/buckets/{id}")).await.ok().json()["name"], "later");
    assert_eq!(get("/api/v2/buckets/0123456789abcdef").await.status, 404);
    for bad in ["limit=0", "limit=101", "limit=x", "offset=-1"] {
        assert_eq!(get(&format!("/api/v2/buckets?{bad}")).await.status, 400, "{bad}");
    }
    assert_eq!(get("/api/v2/buckets?limit=100").await.status, 200);
    assert_eq!(host.tcp("GET", "/api/v2/buckets", None, "").await.status, 401);
    let reader = host.token(Scope::Read);
    let refused = host.tcp("POST", "/api/v2/buckets", Some(&reader), r#"{"name":"x"}"#).await;
    assert_eq!((refused.status.as_u16(), &refused.json()["code"]), (403, &json!("forbidden")));
    // A bucket that was made is empty; one that was not is not there.
    let flux =
        |bucket: &str| json!({"query": format!("from(bucket: \"{bucket}\") |> range(start: 0)")}).to_string();
    let asked = host.tcp("POST", "/api/v2/query", Some(&token), flux("later")).await.ok();
    assert_eq!(asked.text(), "\r\n");
    assert_eq!(host.tcp("POST", "/api/v2/query", Some(&token), flux("nope")).await.status, 404);
}

#[tokio::test]
async fn rows_are_deleted_by_the_names_that_were_written() {
    let (host, writer) = with_rows().await;
    let admin = host.token(Scope::Admin);
    let delete = async |token: &str, predicate: &str, stop: &str| {
        let body = json!({"start": "1970-01-01T00:00:00Z", "stop": stop, "predicate": predicate}).to_string();
        host.tcp("POST", "/api/v2/delete?org=o&bucket=market", Some(token), body).await
    };
    let rows = async |measurement: &str| {
        let list = host.ask("GET", &format!("/v1/series?measurement={measurement}"), "").await.ok().json();
        list.as_array().unwrap().iter().map(|s| s["rows"].as_u64().unwrap()).sum::<u64>()
    };
    let all = "1970-01-02T00:00:00Z";
    let refused = delete(&writer, "_measurement=\"cpu\"", all).await;
    assert_eq!((refused.status.as_u16(), &refused.json()["code"]), (403, &json!("forbidden")));
    // The last instant is in the range.
    assert_eq!(
        delete(&admin, "_measurement=\"bar\" AND symbol=\"A\"", "1970-01-01T00:01:00Z").await.status,
        204
    );
    assert_eq!((rows("bar.1m.A").await, rows("bar.1m.B").await), (1, 1));
    assert_eq!(delete(&admin, "_measurement=\"cpu\" AND host=\"b\"", all).await.status, 204);
    assert_eq!(rows("cpu").await, 1);
    assert_eq!(delete(&admin, "_measurement=\"bar.1m.B\"", all).await.status, 204);
    assert_eq!(delete(&admin, "_measurement=\"none\"", all).await.status, 204);
    assert_eq!((rows("bar.1m.B").await, rows("cpu").await), (0, 1));
    for (predicate, stop) in
        [("_measurement=\"cpu\" OR host=\"a\"", all), ("", "soon"), ("", "1969-01-01T00:00:00Z")]
    {
        let wrong = delete(&admin, predicate, stop).await;
        assert_eq!(
            (wrong.status.as_u16(), &wrong.json()["code"]),
            (400, &json!("invalid")),
            "{predicate} {stop}"
        );
    }
    let body = json!({"start": "1970-01-01T00:00:00Z", "stop": all}).to_string();
    assert_eq!(host.tcp("POST", "/api/v2/delete?bucket=nope", Some(&admin), body.clone()).await.status, 404);
    assert_eq!(host.tcp("POST", "/api/v2/delete", Some(&admin), body).await.status, 400);
    assert_eq!(delete(&admin, "", all).await.status, 204);
    assert_eq!(rows("*").await, 0);
}

#[tokio::test]
async fn flux_is_refused_in_the_form_of_influxdb() {
    let (host, token) = with_rows().await;
    let ask =
        async |body: &str| host.tcp("POST", "/api/v2/query?org=o", Some(&token), body.to_string()).await;
    let flux = |text: &str| json!({"query": text, "type": "flux"}).to_string();
    for (body, words) in [
        ("".to_string(), "failed to decode request body"),
        ("{}".to_string(), "requires a query"),
        (json!({"query": "x", "type": "influxql"}).to_string(), "unknown query type"),
        (json!({"query": "x", "dialect": {"delimiter": ""}}).to_string(), "delimiter"),
        (json!({"query": "x", "now": "soon"}).to_string(), "`now` is not a time"),
        (flux("from(bucket: \"market\") |> range(start: 0) |> derivative(unit: 1s)"), "docs/flux.md"),
        (flux("buckets()"), "`buckets` is not in the subset"),
    ] {
        let got = ask(&body).await;
        assert_eq!((got.status.as_u16(), &got.json()["code"]), (400, &json!("invalid")), "{body}");
        assert!(got.json()["message"].as_str().unwrap().contains(words), "{}", got.text());
    }
    assert_eq!(host.tcp("POST", "/api/v2/query", None, flux("")).await.status, 401);
    let long = flux(&format!("//{}", "x".repeat(64 << 10)));
    assert_eq!(ask(&long).await.status, 413);
    let reader = host.token(Scope::Read);
    let good = flux(
        "from(bucket: \"market\") |> range(start: 0) |> filter(fn: (r) => r._field == \"close\") |> count()",
    );
    let got = host.tcp("POST", "/api/v2/query", Some(&reader), good).await.ok();
    assert_eq!(got.header("content-type"), "text/csv; charset=utf-8");
    assert_eq!(got.text().matches(",close,bar,").count(), 2, "{}", got.text());
}

/// An answer longer than what is held comes whole, and one with too many rows says so as clients look for it.
#[tokio::test]
async fn long_answers_stream_and_end_in_an_error_that_clients_see() {
    let host = Host::new("[limits]\nquery_rows = 30000");
    let line = |i: i64| format!("m,t=x v={i}i {i}\n");
    for part in 0..4 {
        let lines: String = (part * 10_000..(part + 1) * 10_000).map(line).collect();
        host.ask("POST", "/api/v2/write?bucket=market&precision=s", lines).await.ok();
    }
    let flux = |stop: i64| {
        json!({"query": format!("from(bucket: \"market\") |> range(start: 0, stop: {stop})")}).to_string()
    };
    let whole = host.ask("POST", "/api/v2/query", flux(30_000)).await.ok().text();
    assert_eq!(whole.lines().filter(|l| l.ends_with(",v,m,x")).count(), 30_000);
    assert!(whole.ends_with(",29999,v,m,x\r\n\r\n"));
    let answer =
        host.socket.clone().oneshot(request("POST", "/api/v2/query", &[], flux(40_000))).await.unwrap();
    let mut body = answer.into_body();
    let mut got = Vec::new();
    let cut = loop {
        match body.frame().await {
            Some(Ok(part)) => got.extend_from_slice(&part.into_data().unwrap()),
            Some(Err(_)) => break true,
            None => break false,
        }
    };
    let said = String::from_utf8(got).unwrap();
    assert!(
        cut && said.contains(",error,reference\r\n,\"the answer has more than 30000 rows"),
        "{}",
        &said[said.len() - 300..]
    );
}
