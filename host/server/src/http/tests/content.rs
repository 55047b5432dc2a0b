//! Files: both ways, by ranges, under odd names.

use super::*;
use serde_json::json;

const AT: &str = "/v1/files/models/content/momentum/2026-06-26/m.bin";

#[tokio::test]
async fn a_file_goes_in_and_comes_out() {
    let host = Host::new("");
    let meta = [("content-type", "application/x-weights"), ("x-shiphold-metadata", r#"{"by":"Zoë"}"#)];
    let put = send(&host.socket, "PUT", AT, &meta, "0123456789").await;
    assert_eq!((put.status.as_u16(), &put.json()["version"]), (201, &json!(1)), "{}", put.text());
    host.ask("PUT", AT, "second").await.ok();
    let got = host.ask("GET", AT, "").await.ok();
    assert_eq!((got.text().as_str(), got.header("x-shiphold-version")), ("second", "2"));
    let first = host.ask("GET", &format!("{AT}?version=1"), "").await.ok();
    assert_eq!(first.text(), "0123456789");
    assert_eq!(first.header("content-type"), "application/x-weights");
    assert_eq!(first.header("content-length"), "10");
    assert_eq!(first.header("content-disposition"), "attachment");
    assert_eq!(first.header("etag"), format!("\"{}\"", blake3::hash(b"0123456789").to_hex()));
    assert_eq!(
        serde_json::from_str::<Value>(first.header("x-shiphold-metadata")).unwrap(),
        json!({ "by": "Zoë" })
    );
    let head = host.ask("HEAD", &format!("{AT}?version=1"), "").await.ok();
    assert_eq!((head.body.len(), head.header("content-length")), (0, "10"));
    let known = [("if-none-match", first.header("etag"))];
    let same = send(&host.socket, "GET", &format!("{AT}?version=1"), &known, "").await;
    assert_eq!((same.status.as_u16(), same.body.len()), (304, 0));
    host.ask("GET", &format!("{AT}?version=9"), "").await.problem(404, "not-found");
    let versions = "/v1/files/models/versions?path=momentum%2F2026-06-26%2Fm.bin";
    assert_eq!(host.ask("GET", versions, "").await.ok().json().as_array().unwrap().len(), 2);
    let list = host.ask("GET", "/v1/files/models?prefix=momentum/&limit=5", "").await.ok().json();
    assert_eq!((list.as_array().unwrap().len(), &list[0]["version"]), (1, &json!(2)));
    let stores = host.ask("GET", "/v1/files", "").await.ok().json();
    assert_eq!((&stores[0]["store"], &stores[0]["bytes"]), (&json!("models"), &json!(16)));
    host.ask("GET", "/v1/files/none", "").await.problem(404, "not-found");
    assert_eq!(host.ask("POST", "/v1/files/models/verify", "").await.ok().json()["objects"], 2);
    assert_eq!(host.ask("DELETE", &format!("{AT}?purge=true"), "").await.ok().json()["purged"], true);
    assert_eq!(host.ask("POST", "/v1/files/models/gc", "").await.ok().json()["removed"], 2);
    host.ask("GET", AT, "").await.problem(404, "not-found");
}

#[tokio::test]
async fn ranges_of_a_file() {
    let host = Host::new("");
    host.ask("PUT", AT, "0123456789").await.ok();
    let of = async |range: &str| send(&host.socket, "GET", AT, &[("range", range)], "").await;
    let part = of("bytes=2-4").await;
    assert_eq!((part.status.as_u16(), part.text().as_str()), (206, "234"));
    assert_eq!((part.header("content-range"), part.header("content-length")), ("bytes 2-4/10", "3"));
    assert_eq!(of("bytes=-3").await.text(), "789");
    assert_eq!(of("bytes=8-").await.text(), "89");
    let whole = of("bytes=0-1,3-4").await;
    assert_eq!((whole.status.as_u16(), whole.body.len()), (200, 10));
    let outside = of("bytes=10-").await;
    outside.problem(416, "range-not-satisfiable");
    assert_eq!(outside.header("content-range"), "bytes */10");
}

#[tokio::test]
async fn odd_names_are_taken_or_refused_and_never_leave_the_store() {
    let host = Host::new("");
    let at = |name: &str| format!("/v1/files/models/content/{name}");
    for (name, path) in
        [("a%20b/%C3%BC.bin", "a b/ü.bin"), ("a%2Fb", "a/b"), ("x%25y", "x%y"), ("q%3Fx=1", "q?x=1")]
    {
        assert_eq!(host.ask("PUT", &at(name), "x").await.ok().json()["path"], path);
        assert_eq!(host.ask("GET", &at(name), "").await.ok().text(), "x");
    }
    for name in [
        "..",
        "%2E%2E/x",
        "a/../../x",
        "/etc/passwd",
        "%2Fetc%2Fpasswd",
        "a//b",
        "CON",
        "a%5Cb",
        "a/./b",
        "a%00b",
        "%0A",
        "a/",
    ] {
        host.ask("PUT", &at(name), "x").await.problem(400, "invalid");
    }
    host.ask("PUT", &at("%FF"), "x").await.problem(400, "invalid");
    host.ask("PUT", "/v1/files/..%2Fmodels/content/a", "x").await.problem(404, "not-found");
    assert!(!host.dir.path().join("x").exists() && !host.dir.path().join("data/x").exists());
}

#[tokio::test]
async fn an_upload_is_bounded_and_whole_or_absent() {
    let host = Host::new("");
    host.ask("PUT", AT, vec![7; 64 << 10]).await.ok();
    host.ask("PUT", AT, vec![7; (64 << 10) + 1]).await.problem(413, "limit");
    let broken = futures_util::stream::iter([
        Ok(bytes::Bytes::from_static(b"half")),
        Err(std::io::Error::other("the client went away")),
    ]);
    let cut = host.ask("PUT", AT, Body::from_stream(broken)).await;
    assert!(!cut.status.is_success(), "{}", cut.text());
    assert_eq!(host.ask("GET", AT, "").await.ok().header("x-shiphold-version"), "1");
    let bad = [("x-shiphold-metadata", "{")];
    send(&host.socket, "PUT", AT, &bad, "x").await.problem(400, "invalid");
}

#[tokio::test]
async fn a_damaged_file_never_looks_whole() {
    let host = Host::new("");
    host.ask("PUT", AT, vec![7; 60_000]).await.ok();
    let hash = blake3::hash(&[7; 60_000]).to_hex().to_string();
    let object = find(host.dir.path(), &hash).expect("an object named by its hash");
    let mut bytes = std::fs::read(&object).unwrap();
    bytes[59_999] ^= 1;
    let mut permissions = object.metadata().unwrap().permissions();
    #[allow(clippy::permissions_set_readonly_false)]
    permissions.set_readonly(false);
    std::fs::set_permissions(&object, permissions).unwrap();
    std::fs::write(&object, bytes).unwrap();
    let answer = host.socket.clone().oneshot(request("GET", AT, &[], "")).await.unwrap();
    let whole = answer.status().is_success() && answer.into_body().collect().await.is_ok();
    assert!(!whole);
}

fn find(dir: &std::path::Path, name: &str) -> Option<std::path::PathBuf> {
    std::fs::read_dir(dir).unwrap().find_map(|entry| {
        let path = entry.unwrap().path();
        let hit = path.file_name().is_some_and(|n| n.to_string_lossy().ends_with(name.get(4..).unwrap()));
        if path.is_dir() { find(&path, name) } else { hit.then_some(path) }
    })
}
