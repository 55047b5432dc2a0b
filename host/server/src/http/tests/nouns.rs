//! Skills, settings, audit, tokens, plugins, the host; long work and its progress.

use super::*;
use serde_json::json;

#[tokio::test]
async fn a_skill_from_its_first_version_to_its_rollback() {
    let host = Host::new("");
    let put = |version: &str, code: &str| {
        json!({ "name": "pullback", "version": version, "language": "python", "code": code,
                "description": "Buys the dip in an uptrend", "tags": ["trend"] })
        .to_string()
    };
    let first = host.ask("POST", "/v1/skills", put("0.1.0", "a")).await;
    assert_eq!((first.status.as_u16(), &first.json()["current"]), (201, &json!(true)));
    host.ask("POST", "/v1/skills", put("0.2.0", "b")).await.ok();
    host.ask("POST", "/v1/skills", put("0.2.0", "c")).await.problem(409, "conflict");
    assert_eq!(host.ask("GET", "/v1/skills/pullback", "").await.ok().json()["code"], "b");
    assert_eq!(host.ask("GET", "/v1/skills/pullback?version=0.1.0", "").await.ok().json()["code"], "a");
    host.ask("GET", "/v1/skills/pullback?version=1", "").await.problem(400, "invalid");
    host.ask("GET", "/v1/skills/nothing", "").await.problem(404, "not-found");
    assert_eq!(
        host.ask("GET", "/v1/skills/pullback/versions", "").await.ok().json().as_array().unwrap().len(),
        2
    );
    for found in [
        host.ask("GET", "/v1/skills/search?text=dips&tag=trend&limit=5", "").await,
        host.ask("POST", "/v1/skills/search", r#"{"text":"dips","tags":["trend"]}"#).await,
    ] {
        assert_eq!(found.ok().json()["hits"][0]["name"], "pullback");
    }
    host.ask("POST", "/v1/skills/pullback/status", r#"{"status":"retired"}"#).await.ok();
    let found = host.ask("GET", "/v1/skills/search?text=dips", "").await.ok().json();
    assert_eq!((&found["total"], &found["retired_left_out"]), (&json!(0), &json!(1)));
    let found = host.ask("GET", "/v1/skills/search?text=dips&status=draft,retired", "").await.ok().json();
    assert_eq!((&found["hits"][0]["status"], &found["retired_left_out"]), (&json!("retired"), &json!(0)));
    host.ask("GET", "/v1/skills/search?text=dips&status=sold", "").await.problem(400, "invalid");
    host.ask("POST", "/v1/skills/search", r#"{"text":"dips","status":["sold"]}"#)
        .await
        .problem(400, "invalid");
    let performance = json!({ "version": "0.1.0", "performance": { "period_start": 0, "period_end": 10, "returns": 0.02,
        "sharpe": 1.1, "win_rate": 0.5, "max_drawdown": 0.1, "samples": 40 } });
    let recorded = host.ask("POST", "/v1/skills/pullback/performance", performance.to_string()).await;
    assert_eq!(recorded.status, 201, "{}", recorded.text());
    assert_eq!(host.ask("GET", "/v1/skills/pullback/performance", "").await.ok().json()[0]["samples"], 40);
    host.ask("POST", "/v1/skills/pullback/use", "").await.ok();
    host.ask("POST", "/v1/skills/pullback/rollback", r#"{"version":"0.1.0"}"#).await.ok();
    let list = host.ask("GET", "/v1/skills?tag=trend&limit=10", "").await.ok().json();
    assert_eq!((&list[0]["version"], &list[0]["uses"]), (&json!("0.1.0"), &json!(1)));
    assert_eq!(host.ask("GET", "/v1/skills/pullback/resolve", "").await.ok().json()[0]["name"], "pullback");
    let trail = host.ask("GET", "/v1/audit?action=skills.&limit=2", "").await.ok().json();
    assert_eq!((trail.as_array().unwrap().len(), &trail[0]["action"]), (2, &json!("skills.rollback")));
    assert_eq!(host.ask("GET", "/v1/audit/verify", "").await.ok().json()["broken"], Value::Null);
}

#[tokio::test]
async fn what_versions_come_from_and_what_was_believed_of_them() {
    let host = Host::new("");
    let put = |code: &str, more: Value| {
        let mut new = json!({ "name": "s", "language": "python", "code": code });
        new.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        new.to_string()
    };
    let first =
        put("a\n", json!({ "status": "draft", "provenance": { "author": "m", "run": "r", "prompt": "p" } }));
    let first = host.ask("POST", "/v1/skills", first).await.json();
    assert_eq!((&first["status"], &first["provenance"]["prompt"]), (&json!("draft"), &json!("p")));
    let before = host.ask("GET", "/v1/skills/s", "").await.ok().json()["created_at"].to_string();
    host.ask("POST", "/v1/skills", put("b\n", json!({}))).await;
    host.ask("POST", "/v1/skills", put("c\n", json!({ "parent": 1 }))).await.problem(400, "invalid");
    host.ask("POST", "/v1/skills", put("c\n", json!({ "status": "sold" }))).await.problem(400, "invalid");
    let diff = host.ask("GET", "/v1/skills/s/diff", "").await.ok().json();
    assert_eq!(diff["code"], "--- s@0.1.0\n+++ s@0.1.1\n@@ -1 +1 @@\n-a\n+b\n");
    let fields: Vec<&str> =
        diff["fields"].as_array().unwrap().iter().map(|f| f["field"].as_str().unwrap()).collect();
    assert_eq!(fields, ["author", "run", "status"]);
    host.ask("GET", "/v1/skills/s/diff?from=0.1.1&to=0.1.0&context=0", "").await.ok();
    host.ask("GET", "/v1/skills/s/diff?from=0.1.0&to=0.1.0&context=-1", "").await.problem(400, "invalid");
    host.ask("GET", "/v1/skills/s/diff?context=1001", "").await.problem(413, "limit");
    let lineage = host.ask("GET", "/v1/skills/s/lineage?limit=1", "").await.ok().json();
    assert_eq!(
        (&lineage[0]["version"], &lineage[0]["parent"]["version"]),
        (&json!("0.1.1"), &json!("0.1.0"))
    );
    let brief = host.ask("GET", "/v1/skills/s/versions?brief=true&limit=1", "").await.ok().json();
    assert_eq!((brief.as_array().unwrap().len(), &brief[0]["code"]), (1, &Value::Null));
    assert_eq!(host.ask("GET", "/v1/skills/s/versions?before=0.1.1", "").await.ok().json()[0]["code"], "a\n");

    let set = json!({ "version": "0.1.0", "status": "retired", "reason": "decayed" }).to_string();
    assert_eq!(host.ask("POST", "/v1/skills/s/status", set).await.ok().json()["status"], "retired");
    let statuses = host.ask("GET", "/v1/skills/s/status", "").await.ok().json();
    assert_eq!((&statuses[0]["reason"], &statuses[1]["status"]), (&json!("decayed"), &json!("draft")));
    assert_eq!(host.ask("GET", "/v1/skills?status=active", "").await.ok().json()[0]["status"], "active");
    assert_eq!(host.ask("GET", "/v1/skills?status=retired", "").await.ok().json(), json!([]));
    let then = host.ask("GET", &format!("/v1/skills/s?at={before}"), "").await.ok().json();
    assert_eq!((&then["version"], &then["status"]), (&json!("0.1.0"), &json!("draft")));
    host.ask("GET", "/v1/skills/s?at=1970-01-01", "").await.problem(404, "not-found");
    host.ask("GET", "/v1/skills/s?at=now", "").await.problem(400, "invalid");
    host.ask("GET", "/v1/skills/s?at=0&version=0.1.0", "").await.problem(400, "invalid");
    let figures = json!({ "version": "0.1.1", "performance": { "period_start": 0, "period_end": 10, "returns": 0.02,
        "sharpe": 1.1, "win_rate": 0.5, "max_drawdown": 0.1, "samples": 40 } });
    host.ask("POST", "/v1/skills/s/performance", figures.to_string()).await;
    let believed = host.ask("GET", "/v1/skills/s/believed", "").await.ok().json();
    assert_eq!(
        (&believed["current"], &believed["versions"][0]["performance"]["samples"]),
        (&json!("0.1.1"), &json!(40))
    );
    let believed = host.ask("GET", &format!("/v1/skills/s/believed?at={before}"), "").await.ok().json();
    assert_eq!(
        (believed["versions"].as_array().unwrap().len(), &believed["versions"][0]["performance"]),
        (1, &Value::Null)
    );
    let records = host.ask("GET", "/v1/skills/s/performance?version=0.1.1&limit=1", "").await.ok().json();
    assert!(records[0]["seq"].is_i64());
    host.ask("GET", "/v1/skills/s/performance?limit=10001", "").await.problem(413, "limit");
    let resolved = host.ask("GET", "/v1/skills/s/resolve?version=0.1.0", "").await.ok().json();
    assert_eq!((&resolved[0]["version"], &resolved[0]["status"]), (&json!("0.1.0"), &json!("retired")));
}

#[tokio::test]
async fn libraries_go_out_and_come_in() {
    let (host, other) = (Host::new(""), Host::new(""));
    let new = json!({ "name": "s", "language": "python", "code": "x" }).to_string();
    host.ask("POST", "/v1/skills", new).await;
    for (pack, media_type) in
        [("none", "application/x-ndjson"), ("gzip", "application/gzip"), ("zstd", "application/zstd")]
    {
        let got = host.ask("GET", &format!("/v1/skills/@library?pack={pack}"), "").await;
        assert_eq!((got.status.as_u16(), got.header("content-type")), (200, media_type));
        let done = other.ask("POST", "/v1/skills/@library?dry_run=true", got.body.clone()).await.ok().json();
        assert_eq!(
            (&done["dry_run"], &done["kept"]["versions"]),
            (&json!(true), &json!(u64::from(pack != "none")))
        );
        let done = other.ask("POST", "/v1/skills/@library?adopt=true", got.body.clone()).await.ok().json();
        assert_eq!(done["added"]["versions"], u64::from(pack == "none"));
    }
    host.ask("GET", "/v1/skills/@library?pack=zip", "").await.problem(400, "invalid");
    other.ask("POST", "/v1/skills/@library", "nonsense").await.problem(400, "invalid");
    // Progress, and the error of a file that is refused, come as lines.
    let accept = [("accept", "application/x-ndjson")];
    let lines = send(&other.socket, "POST", "/v1/skills/@library", &accept, "{}").await;
    assert!(lines.text().lines().last().unwrap().contains("\"error\""), "{}", lines.text());
    let voyager = json!({ "buyTheDip": { "code": "x", "description": "d" } }).to_string();
    let done =
        other.ask("POST", "/v1/skills/@voyager?author=gpt-4&status=draft", voyager.clone()).await.ok().json();
    assert_eq!((&done["format"], &done["added"]["skills"]), (&json!("voyager"), &json!(1)));
    assert_eq!(other.ask("GET", "/v1/skills/buy-the-dip", "").await.ok().json()["status"], "draft");
    // Who may: a library writes history in others' names.
    let (read, write) = (other.token(Scope::Read), other.token(Scope::Write));
    assert_eq!(other.tcp("GET", "/v1/skills/@library", Some(&read), "").await.status, 200);
    other.tcp("POST", "/v1/skills/@library", Some(&write), "").await.problem(403, "denied");
    other.tcp("POST", "/v1/skills/@voyager", Some(&read), voyager.clone()).await.problem(403, "denied");
    assert_eq!(other.tcp("POST", "/v1/skills/@voyager", Some(&write), voyager).await.status, 200);
    other.ask("GET", "/v1/skills/@nothing", "").await.problem(400, "invalid");
}

#[tokio::test]
async fn a_million_tags_are_refused_by_the_bound_that_they_break() {
    let host = Host::new("");
    let tags: Vec<String> = (0..1_000_000).map(|i| format!("t{i}")).collect();
    let new = json!({ "name": "s", "language": "python", "code": "x", "tags": tags }).to_string();
    let refused = host.ask("POST", "/v1/skills", new).await.problem(413, "limit");
    assert!(refused["detail"].as_str().unwrap().contains("number of tags"), "{refused}");
    // A value that is beyond what a body may have is refused before it is read to its end.
    let huge = format!(r#"{{"name":"s","language":"python","code":"{}"}}"#, "x".repeat(65 << 20));
    let refused = host.ask("POST", "/v1/skills", huge).await.problem(413, "limit");
    assert!(refused["hint"].as_str().unwrap().contains("http.body_max"), "{refused}");
    let deep = format!(
        r#"{{"name":"s","language":"python","code":"x","metadata":{}1{}}}"#,
        r#"{"a":"#.repeat(500),
        "}".repeat(500)
    );
    host.ask("POST", "/v1/skills", deep).await.problem(400, "invalid");
}

#[tokio::test]
async fn settings_with_a_comparison() {
    let host = Host::new("");
    let at = "/v1/settings/system/risk.max";
    assert_eq!(host.ask("PUT", at, r#"{"value":5,"expect":"absent"}"#).await.ok().json()["revision"], 1);
    host.ask("PUT", at, r#"{"value":5,"expect":"absent"}"#).await.problem(409, "conflict");
    assert_eq!(
        host.ask("PUT", at, r#"{"value":null,"expect":{"revision":1}}"#).await.ok().json()["revision"],
        2
    );
    host.ask("PUT", at, r#"{"value":6,"expect":{"revision":1}}"#).await.problem(409, "conflict");
    // Nothing is not null.
    host.ask("PUT", at, "{}").await.problem(400, "invalid");
    host.ask("PUT", at, "").await.problem(400, "invalid");
    host.ask("DELETE", at, r#"{"expect":{"revision":1}}"#).await.problem(409, "conflict");
    assert_eq!(host.ask("DELETE", at, "").await.ok().json()["value"], Value::Null);
    host.ask("GET", at, "").await.problem(404, "not-found");
    let history = host.ask("GET", &format!("{at}/history?limit=2"), "").await.ok().json();
    assert_eq!((&history[0]["revision"], &history[1]["revision"]), (&json!(3), &json!(2)));
    assert_eq!(host.ask("GET", "/v1/settings", "").await.ok().json(), json!(["system"]));
    assert_eq!(host.ask("GET", "/v1/settings/system", "").await.ok().json(), json!([]));
    for odd in
        ["/v1/settings/a%2Fb/k", "/v1/settings/user/%00", "/v1/settings/user/%C3%BC", "/v1/settings/%20/k"]
    {
        host.ask("PUT", odd, r#"{"value":1}"#).await.problem(400, "invalid");
    }
    host.ask("GET", "/v1/settings/user/%FF", "").await.problem(400, "invalid");
}

#[tokio::test]
async fn a_token_is_shown_once_and_expires() {
    let host = Host::new("");
    let made = host.ask("POST", "/v1/tokens", r#"{"name":"t","scope":"read","expires":"2999-01-01"}"#).await;
    host.ask("POST", "/v1/tokens", r#"{"name":"u","scope":"all"}"#).await.problem(400, "invalid");
    assert_eq!(made.status, 400, "past what nanoseconds can say");
    let made = host.ask("POST", "/v1/tokens", r#"{"name":"t","scope":"read","expires":"2199-01-01"}"#).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let secret = made.json()["token"].as_str().unwrap().to_string();
    host.tcp("GET", "/v1/host", Some(&secret), "").await.ok();
    let default = host.ask("POST", "/v1/tokens", r#"{"name":"d"}"#).await.ok().json();
    assert_eq!((&default["scope"], &default["expires_at"]), (&json!("write"), &Value::Null));
    let gone = host.ask("POST", "/v1/tokens", r#"{"name":"old","expires":"2001-01-01"}"#).await.ok().json();
    host.tcp("GET", "/v1/host", gone["token"].as_str(), "").await.problem(401, "unauthenticated");
    let list = host.ask("GET", "/v1/tokens", "").await.ok();
    assert_eq!(list.json().as_array().unwrap().len(), 3);
    assert!(!list.text().contains(&secret));
    assert_eq!(host.ask("DELETE", "/v1/tokens/t", "").await.ok().json()["revoked"], true);
    host.tcp("GET", "/v1/host", Some(&secret), "").await.problem(401, "unauthenticated");
    host.ask("DELETE", "/v1/tokens/t", "").await.problem(404, "not-found");
}

#[tokio::test]
async fn plugins_that_are_not_there() {
    let host = Host::new("");
    assert_eq!(host.ask("GET", "/v1/plugins", "").await.ok().json(), json!([]));
    host.ask("GET", "/v1/plugins/p/runs", "").await.problem(404, "not-found");
    host.ask("POST", "/v1/plugins/p/enable", "").await.problem(404, "not-found");
    host.ask("POST", "/v1/plugins/p/run", r#"{"dry_run":true,"now":"tomorrow"}"#)
        .await
        .problem(400, "invalid");
    host.ask("POST", "/v1/plugins/p/run", r#"{"dry_run":true,"now":"2099-01-01"}"#)
        .await
        .problem(404, "not-found");
    let lines = [("accept", "application/x-ndjson")];
    let got = send(&host.socket, "POST", "/v1/plugins/p/run", &lines, "").await;
    assert_eq!((got.status.as_u16(), &got.json()["error"]["code"]), (200, &json!("not-found")));
}

#[tokio::test]
async fn long_work_tells_its_progress_in_lines() {
    let host = Host::new("");
    let plain = host.ask("POST", "/v1/verify", "").await.ok();
    assert_eq!((plain.header("content-type"), &plain.json()["ok"]), ("application/json", &json!(true)));
    let accept = [("accept", "application/x-ndjson")];
    let got = send(&host.socket, "POST", "/v1/verify", &accept, "").await.ok();
    assert_eq!(got.header("content-type"), "application/x-ndjson");
    let text = got.text();
    let lines: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let (last, before) = lines.split_last().unwrap();
    assert_eq!(last["result"]["ok"], true, "{text}");
    assert!(!before.is_empty() && before.iter().all(|l| l["progress"]["done"].is_u64()), "{text}");

    let to = host.dir.path().join("backup");
    let body = || json!({ "to": to }).to_string();
    let got = send(&host.socket, "POST", "/v1/backup/export", &accept, body()).await.ok().text();
    let last: Value = serde_json::from_str(got.lines().last().unwrap()).unwrap();
    assert_eq!(last["result"]["databases"], 2, "{got}");
    let again = send(&host.socket, "POST", "/v1/backup/export", &accept, body()).await;
    assert_eq!(again.status, 200, "the head was sent before the work began");
    let last: Value = serde_json::from_str(again.text().lines().last().unwrap()).unwrap();
    assert!(last["error"]["code"].is_string() && last["error"]["detail"].is_string(), "{last}");
    host.ask("POST", "/v1/backup/check", json!({ "from": to }).to_string()).await.ok();
}

#[tokio::test]
async fn the_host_says_who_it_is() {
    let host = Host::new("[host]\nname = \"desk\"");
    let said = host.ask("GET", "/v1/host", "").await.ok().json();
    assert_eq!(
        (&said["name"], &said["engine"], &said["disk"]["level"]),
        (&json!("desk"), &json!("embedded"), &json!("ok"))
    );
    let health = host.tcp("GET", "/health", None, "").await.ok().json();
    assert_eq!((&health["name"], &health["status"]), (&json!("desk"), &json!("pass")));
    assert!(health["checks"].as_array().unwrap().iter().all(|c| c["status"] == "pass"), "{health}");
}

#[tokio::test]
async fn a_full_disk_is_told_and_refused() {
    let host = Host::new("");
    host.ask("PUT", "/v1/settings/user/a", r#"{"value":1}"#).await.ok();
    let data = host.app.layer.manifest().host.data.clone();
    drop(host.app);
    let dir = host.dir;
    drop((host.tcp, host.socket));
    let text = "[disk]\nwarn_below = \"901 TiB\"\nread_only_below = \"900 TiB\"\nreserve = \"0 B\"\n";
    let manifest = Manifest::parse(text, &dir.path().join("shiphold.toml")).unwrap();
    assert_eq!(manifest.host.data, data);
    let app = App::new(DataLayer::open(&manifest).unwrap()).unwrap();
    let (tcp, socket) = (router(app.clone(), Door::Tcp), router(app.clone(), Door::Socket));
    let host = Host { dir, app, tcp, socket };
    let refused = host.ask("PUT", "/v1/settings/user/a", r#"{"value":2}"#).await;
    refused.problem(503, "read-only");
    assert_eq!(refused.header("retry-after"), "30");
    host.ask("GET", "/v1/settings/user/a", "").await.ok();
    let health = host.tcp("GET", "/health", None, "").await;
    assert_eq!((health.status.as_u16(), &health.json()["status"]), (503, &json!("fail")));
    assert!(health.json()["message"].as_str().unwrap().contains("read-only"));
    let write = host.ask("POST", "/api/v2/write?bucket=market", "m v=1 1").await;
    assert_eq!((write.status.as_u16(), &write.json()["code"]), (503, &json!("unavailable")));
    assert!(write.text().contains("read-only"), "{}", write.text());
    assert_eq!(write.header("retry-after"), "30");
}
