//! Checkpoints of strategies: saved, loaded in one call, compared, sent again, followed.

use super::*;
use serde_json::json;
use shiphold_storage::state::INLINE_BYTES_MAX;

const AT: &str = "/v1/state/momentum";
const LARGE: &str = "[state]\nstore = \"models\"\nkeep = 3\n";

#[tokio::test]
async fn a_checkpoint_goes_in_and_comes_out_in_one_call() {
    let host = Host::new("");
    host.ask("GET", AT, "").await.problem(404, "not-found");
    let meta = [("content-type", "application/json"), ("x-shiphold-metadata", r#"{"by":"Zoë"}"#)];
    let saved = send(&host.socket, "PUT", &format!("{AT}?expect=absent"), &meta, r#"{"position":1}"#).await;
    assert_eq!(saved.status, 201, "{}", saved.text());
    let saved = saved.json();
    assert_eq!(
        (&saved["revision"], &saved["replayed"], &saved["store"]),
        (&json!(1), &json!(false), &Value::Null)
    );
    let got = host.ask("GET", AT, "").await.ok();
    assert_eq!((got.text().as_str(), got.header("content-type")), (r#"{"position":1}"#, "application/json"));
    assert_eq!((got.header("x-shiphold-revision"), got.header("content-length")), ("1", "14"));
    assert_eq!(got.header("x-shiphold-saved-at"), saved["saved_at"].to_string());
    assert_eq!(
        serde_json::from_str::<Value>(got.header("x-shiphold-metadata")).unwrap(),
        json!({ "by": "Zoë" })
    );
    let known = [("if-none-match", got.header("etag"))];
    let same = send(&host.socket, "GET", AT, &known, "").await;
    assert_eq!((same.status.as_u16(), same.body.len(), same.header("x-shiphold-revision")), (304, 0, "1"));
    let head = host.ask("HEAD", AT, "").await.ok();
    assert_eq!((head.body.len(), head.header("content-length")), (0, "14"));

    host.ask("PUT", &format!("{AT}?expect=absent"), "x").await.problem(409, "conflict");
    host.ask("PUT", &format!("{AT}?expect=7"), "x").await.problem(409, "conflict");
    host.ask("PUT", &format!("{AT}?expect=seven"), "x").await.problem(400, "invalid");
    assert_eq!(host.ask("PUT", &format!("{AT}?expect=1"), "two").await.ok().json()["revision"], 2);
    assert_eq!(host.ask("GET", &format!("{AT}?revision=1"), "").await.ok().text(), r#"{"position":1}"#);
    let then = saved["saved_at"].to_string();
    assert_eq!(host.ask("GET", &format!("{AT}?at={then}"), "").await.ok().header("x-shiphold-revision"), "1");
    host.ask("GET", &format!("{AT}?at=1970-01-01"), "").await.problem(404, "not-found");
    host.ask("GET", &format!("{AT}?at={then}&revision=1"), "").await.problem(400, "invalid");
    let history = host.ask("GET", &format!("{AT}/history?limit=1"), "").await.ok().json();
    assert_eq!((history.as_array().unwrap().len(), &history[0]["revision"]), (1, &json!(2)));
    let list = host.ask("GET", "/v1/state", "").await.ok().json();
    assert_eq!((&list[0]["strategy"], &list[0]["size"]), (&json!("momentum"), &json!(3)));
    host.ask("DELETE", &format!("{AT}?expect=1"), "").await.problem(409, "conflict");
    assert_eq!(host.ask("DELETE", &format!("{AT}?expect=2"), "").await.ok().json()["blake3"], Value::Null);
    assert!(
        host.ask("GET", AT, "").await.problem(404, "not-found")["detail"].to_string().contains("deleted")
    );
    assert_eq!(host.ask("GET", "/v1/state", "").await.ok().json(), json!([]));
    for odd in ["/v1/state/a%2Fb", "/v1/state/%00", "/v1/state/%C3%BC", "/v1/state/%20"] {
        host.ask("PUT", odd, "x").await.problem(400, "invalid");
    }
}

#[tokio::test]
async fn a_large_checkpoint_is_a_file_and_a_retry_is_one_save() {
    let host = Host::new(LARGE);
    let large = vec![7_u8; INLINE_BYTES_MAX];
    assert_eq!(host.ask("PUT", AT, large.clone()).await.ok().json()["store"], Value::Null);
    // The store takes files of 64 KiB, as large as what needs none.
    let refused = host.ask("PUT", AT, vec![7_u8; INLINE_BYTES_MAX + 1]).await;
    assert!(refused.problem(413, "limit")["hint"].to_string().contains("file_max"), "{}", refused.text());
    assert_eq!(host.ask("GET", AT, "").await.ok().body, large);
    let keyed = [("idempotency-key", "k1")];
    let put = async |body: &str| {
        send(&host.socket, "PUT", &format!("{AT}?expect=1"), &keyed, body.to_string()).await
    };
    assert_eq!(put("two").await.ok().json()["replayed"], false);
    assert_eq!(put("two").await.ok().json()["replayed"], true);
    put("three").await.problem(409, "conflict");
    assert_eq!(host.ask("GET", AT, "").await.ok().header("x-shiphold-revision"), "2");
    let bad = [("idempotency-key", "a b")];
    send(&host.socket, "PUT", AT, &bad, "x").await.problem(400, "invalid");
    let none = Host::new("");
    let refused = none.ask("PUT", AT, vec![7_u8; INLINE_BYTES_MAX + 1]).await;
    assert!(refused.problem(413, "limit")["hint"].to_string().contains("state.store"), "{}", refused.text());
}

#[tokio::test]
async fn scopes_of_checkpoints() {
    let host = Host::new("");
    let (read, write) = (host.token(Scope::Read), host.token(Scope::Write));
    host.tcp("PUT", AT, Some(&read), "x").await.problem(403, "denied");
    assert_eq!(host.tcp("PUT", AT, Some(&write), "x").await.ok().json()["saved_by"], "token:write");
    host.tcp("GET", AT, Some(&read), "").await.ok();
    host.tcp("GET", AT, None, "").await.problem(401, "unauthenticated");
    host.tcp("DELETE", &format!("{AT}?purge=true"), Some(&write), "").await.problem(403, "denied");
    host.tcp("DELETE", AT, Some(&write), "").await.ok();
    host.ask("DELETE", &format!("{AT}?purge=true"), "").await.ok();
    let trail = host.ask("GET", "/v1/audit?object=state:momentum", "").await.ok().json();
    let actions: Vec<&str> =
        trail.as_array().unwrap().iter().map(|e| e["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["state.purge", "state.delete", "state.save"]);
}

#[tokio::test]
async fn a_commit_saves_a_checkpoint_with_the_rest() {
    let host = Host::new("");
    let commit = |expect: Value| {
        json!({ "settings": [{ "namespace": "live", "key": "n", "value": 1 }],
                "state": [{ "strategy": "momentum", "base64": "AAEC", "metadata": { "n": 1 }, "expect": expect }] })
        .to_string()
    };
    let made = host.ask("POST", "/v1/commits", commit(json!("absent"))).await.ok().json();
    assert_eq!((&made["state"][0]["revision"], &made["state"][0]["size"]), (&json!(1), &json!(3)));
    assert_eq!(host.ask("GET", AT, "").await.ok().body, [0, 1, 2]);
    host.ask("POST", "/v1/commits", commit(json!({ "revision": 7 }))).await.problem(409, "conflict");
    let history = host.ask("GET", "/v1/settings/live/n/history", "").await.ok().json();
    assert_eq!(history.as_array().unwrap().len(), 1, "nothing of the refused commit is there");
}
