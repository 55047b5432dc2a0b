//! Who comes in, and how much.

use super::*;
use serde_json::json;

#[tokio::test]
async fn without_a_token_only_the_open_routes_answer() {
    let host = Host::new("");
    for path in ["/v1/skills", "/v1/series", "/metrics", "/v1/host", "/no/such/route"] {
        let refused = host.tcp("GET", path, None, "").await;
        refused.problem(401, "unauthenticated");
        assert_eq!(refused.header("www-authenticate"), "Bearer");
        host.tcp("GET", path, Some("shp_wrong"), "").await.problem(401, "unauthenticated");
    }
    assert_eq!(host.tcp("GET", "/health", None, "").await.ok().json()["status"], "pass");
    let ping = host.tcp("GET", "/ping", None, "").await;
    assert_eq!((ping.status.as_u16(), ping.body.len()), (204, 0));
    assert!(ping.header("x-influxdb-version").starts_with("v2.7"));
    assert_eq!(host.tcp("HEAD", "/ping", None, "").await.status, 204);
    let read = host.token(Scope::Read);
    host.tcp("GET", "/v1/skills", Some(&read), "").await.ok();
    host.tcp("GET", "/no/such/route", Some(&read), "").await.problem(404, "not-found");
}

#[tokio::test]
async fn scopes_are_held() {
    let host = Host::new("");
    let (read, write) = (host.token(Scope::Read), host.token(Scope::Write));
    let admin = host.token(Scope::Admin);
    let value = || json!({ "value": 1 }).to_string();
    host.tcp("PUT", "/v1/settings/user/a", Some(&read), value()).await.problem(403, "denied");
    host.tcp("PUT", "/v1/settings/user/a", Some(&write), value()).await.ok();
    for (method, path, body) in [
        ("GET", "/v1/tokens", ""),
        ("POST", "/v1/series/compact", ""),
        ("POST", "/v1/series/delete", r#"{"measurement":"*"}"#),
        ("DELETE", "/v1/files/models/content/a", ""),
        ("POST", "/v1/files/models/gc", ""),
        ("POST", "/v1/plugins/p/run", ""),
        ("POST", "/v1/plugins/p/enable", ""),
    ] {
        host.tcp(method, path, Some(&write), body).await.problem(403, "denied");
    }
    host.tcp("GET", "/v1/tokens", Some(&admin), "").await.ok();
    // A folder of the host's machine is the operator's to name.
    let to = json!({ "to": host.dir.path().join("backup") }).to_string();
    host.tcp("POST", "/v1/backup/export", Some(&admin), to).await.problem(403, "denied");
    host.ask("POST", "/v1/backup/export", r#"{"to":"relative"}"#).await.problem(400, "invalid");
}

#[tokio::test]
async fn a_web_page_comes_in_by_no_name() {
    let host = Host::new("[http]\nallowed_origins = [\"https://ok.example\"]");
    let token = format!("Bearer {}", host.token(Scope::Read));
    let ask = async |headers: &[(&str, &str)], method: &str| {
        let mut all = vec![("authorization", token.as_str())];
        all.extend(headers);
        send(&host.tcp, method, "/v1/skills", &all, "").await
    };
    ask(&[("host", "evil.example")], "GET").await.problem(403, "denied");
    ask(&[], "GET").await.problem(403, "denied");
    ask(&[("host", "localhost"), ("origin", "https://evil.example")], "GET").await.problem(403, "denied");
    // Even the open routes: their answers tell a page that something listens here.
    assert_eq!(send(&host.tcp, "GET", "/ping", &[("host", "evil.example")], "").await.status, 403);
    let allowed = ask(&[("host", "localhost"), ("origin", "https://ok.example")], "GET").await.ok();
    assert_eq!(allowed.header("access-control-allow-origin"), "https://ok.example");
    assert_eq!(allowed.header("x-content-type-options"), "nosniff");
    let preflight = [
        ("host", "localhost"),
        ("origin", "https://ok.example"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization"),
    ];
    let answer = send(&host.tcp, "OPTIONS", "/v1/series/query", &preflight, "").await;
    assert_eq!(answer.status, 204, "{}", answer.text());
    assert!(answer.header("access-control-allow-headers").contains("authorization"));
    // The socket is out of a page's reach.
    send(&host.socket, "GET", "/v1/skills", &[("host", "evil.example")], "").await.ok();
}

#[tokio::test]
async fn more_requests_than_the_bound_are_told_to_come_back() {
    let host = Host::new("[http]\nrequests_max = 2");
    let token = host.token(Scope::Read);
    let auth = format!("Bearer {token}");
    let ask = || request("GET", "/v1/skills", &[("host", "localhost"), ("authorization", &auth)], "");
    // Answers that were not read yet are still being served.
    let first = host.tcp.clone().oneshot(ask()).await.unwrap();
    let second = host.tcp.clone().oneshot(ask()).await.unwrap();
    let refused = host.tcp("GET", "/v1/skills", Some(&token), "").await;
    refused.problem(503, "busy");
    assert_eq!(refused.header("retry-after"), "1");
    let refused = host.tcp("POST", "/api/v2/write", Some(&token), "m v=1").await;
    assert_eq!((refused.status.as_u16(), refused.json()["code"].as_str()), (503, Some("unavailable")));
    assert_eq!(host.tcp("GET", "/health", None, "").await.status, 200);
    drop(first);
    host.tcp("GET", "/v1/skills", Some(&token), "").await.ok();
    drop(second);
    assert_eq!(host.app.counters.in_flight.load(std::sync::atomic::Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_body_is_bounded_to_the_byte() {
    let host = Host::new("[http]\nbody_max = \"1 KiB\"");
    let body = |size: usize| {
        let json = json!({ "value": 1 }).to_string();
        format!("{json}{}", " ".repeat(size - json.len()))
    };
    host.ask("PUT", "/v1/settings/user/a", body(1024)).await.ok();
    let refused = host.ask("PUT", "/v1/settings/user/a", body(1025)).await.problem(413, "limit");
    assert!(refused["hint"].as_str().unwrap().contains("http.body_max"), "{refused}");
    // A length that is only announced is refused before a byte comes.
    let huge = Body::from_stream(futures_util::stream::pending::<Result<bytes::Bytes, std::io::Error>>());
    let huge = http_body_util::combinators::UnsyncBoxBody::new(Announced(huge));
    let got = tokio::time::timeout(
        std::time::Duration::from_secs(20),
        send(&host.socket, "POST", "/v1/skills", &[], Body::new(huge)),
    );
    got.await.unwrap().problem(413, "limit");
}

/// A body that says that it will be large.
struct Announced(Body);

impl axum::body::HttpBody for Announced {
    type Data = bytes::Bytes;
    type Error = axum::Error;
    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<bytes::Bytes>, axum::Error>>> {
        std::pin::Pin::new(&mut self.0).poll_frame(cx)
    }
    fn size_hint(&self) -> hyper::body::SizeHint {
        hyper::body::SizeHint::with_exact(1 << 40)
    }
}

#[tokio::test]
async fn what_is_wrong_is_said() {
    let host = Host::new("");
    host.ask("GET", "/v1/nothing", "").await.problem(404, "not-found");
    let wrong = host.ask("PATCH", "/v1/skills", "").await;
    wrong.problem(405, "method-not-allowed");
    assert!(wrong.header("allow").contains("POST"), "{:?}", wrong.headers);
    host.ask("GET", "/v1/skills?limt=1", "").await.problem(400, "invalid");
    let said = host.ask("POST", "/v1/skills", r#"{"name":"a","cod":"x"}"#).await.problem(400, "invalid");
    assert!(said["detail"].as_str().unwrap().contains("cod"), "{said}");
    host.ask("POST", "/v1/skills", "{").await.problem(400, "invalid");
    let form = [("content-type", "application/x-www-form-urlencoded")];
    send(&host.socket, "POST", "/v1/skills", &form, "{}").await.problem(415, "unsupported-media-type");
    let br = [("content-encoding", "br")];
    send(&host.socket, "POST", "/v1/skills", &br, "{}").await.problem(415, "unsupported-media-type");
}

#[tokio::test]
async fn metrics_count_routes_and_not_addresses() {
    let host = Host::new("");
    for i in 0..3 {
        host.ask("GET", &format!("/v1/settings/user/k{i}"), "").await.problem(404, "not-found");
        host.ask("GET", &format!("/nothing/{i}"), "").await.problem(404, "not-found");
    }
    let token = host.token(Scope::Read);
    send(&host.tcp, "GET", "/ping", &[("host", "evil.example")], "").await;
    host.ask("PUT", "/v1/settings/user/k", "{\"value\":1}").await.ok();
    for _ in 0..4 {
        host.ask("GET", "/v1/settings/user/k", "").await.ok();
    }
    let text = host.tcp("GET", "/metrics", Some(&token), "").await.ok();
    assert!(text.header("content-type").starts_with("text/plain; version=0.0.4"));
    let text = text.text();
    for line in [
        "shiphold_http_requests_total{route=\"/v1/settings/{namespace}/{key}\",method=\"GET\",status=\"404\"} 3",
        "shiphold_http_requests_total{route=\"none\",method=\"GET\",status=\"404\"} 3",
        "shiphold_http_refused_total{why=\"host\"} 1",
        "shiphold_build_info{version=",
        "shiphold_series_rows 0",
        "shiphold_files_bytes{store=\"models\"} 0",
        "shiphold_disk_level 0",
        "shiphold_http_requests_in_flight 1",
        "shiphold_readers_max 4\n",
        "shiphold_readers_in_use 0\n",
        "shiphold_reader_wait_seconds_bucket{le=\"0.0001\"} ",
        "shiphold_reader_wait_seconds_bucket{le=\"5\"} ",
        "shiphold_reader_refused_total 0\n",
        "shiphold_cache_max_bytes 16777216\n",
        "shiphold_cache_entries{noun=\"settings\"} 1\n",
        "shiphold_cache_hits_total{noun=\"settings\"} 3\n",
        // The one that was there, and three that were not.
        "shiphold_cache_misses_total{noun=\"settings\"} 4\n",
        "shiphold_cache_hit_ratio{noun=\"tokens\"} 0\n",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}
