//! Listening to series: history, then rows as they are written, signs of life, and the end.

use super::*;
use serde_json::json;

/// A client that listens.
struct Ear {
    body: Body,
    rest: String,
}

impl Ear {
    async fn open(host: &Host, query: &str, accept: &str) -> Self {
        let path = format!("/v1/series/tail?{query}");
        let answer =
            host.socket.clone().oneshot(request("GET", &path, &[("accept", accept)], "")).await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], accept);
        Self { body: answer.into_body(), rest: String::new() }
    }

    /// What comes next, up to an end of a line (or of an event); `None`: the answer ended.
    async fn next(&mut self, end: &str) -> Option<String> {
        loop {
            if let Some(at) = self.rest.find(end) {
                let rest = self.rest.split_off(at + end.len());
                return Some(std::mem::replace(&mut self.rest, rest));
            }
            let part = self.body.frame().await?.unwrap().into_data().unwrap();
            self.rest.push_str(std::str::from_utf8(&part).unwrap());
        }
    }

    async fn line(&mut self) -> Value {
        serde_json::from_str(&self.next("\n").await.unwrap()).unwrap()
    }
}

const WRITE: &str = "/api/v2/write?bucket=market&precision=ns";

#[tokio::test]
async fn history_then_rows_as_they_are_written() {
    let host = Host::new("");
    host.ask("POST", WRITE, "bar,symbol=A,timeframe=1m close=1 1\nbar,symbol=A,timeframe=1m close=2 2")
        .await
        .ok();
    let mut ear = Ear::open(&host, "measurement=bar.*&from=2", "application/x-ndjson").await;
    let key = json!({"bucket": "market", "measurement": "bar.1m.A"});
    assert_eq!(ear.line().await, json!({"row": {"key": key, "time": 2, "fields": {"close": 2.0}}}));
    assert!(ear.line().await["live"]["time"].is_i64());
    host.ask("POST", WRITE, "bar,symbol=B,timeframe=1m,v=x close=3,n=1i,s=\"a\\nb\",ok=true 3\nother v=1 1")
        .await
        .ok();
    let row = ear.line().await;
    assert_eq!(
        row["row"]["key"],
        json!({"bucket": "market", "measurement": "bar.1m.B", "tags": [["v", "x"]]})
    );
    assert_eq!(row["row"]["fields"], json!({"close": 3.0, "n": 1, "s": "a\\nb", "ok": true}));
    // Late rows are written now, so they are told.
    host.ask("POST", WRITE, "bar,symbol=A,timeframe=1m close=0 1").await.ok();
    assert_eq!(ear.line().await["row"]["time"], 1);
    host.app.ending.send_replace(true);
    assert_eq!(ear.line().await, json!({"end": {"reason": "the host ends"}}));
    assert_eq!(ear.next("\n").await, None);
}

#[tokio::test]
async fn events_for_browsers() {
    let host = Host::new("");
    let mut ear = Ear::open(&host, "measurement=*", "text/event-stream").await;
    assert!(ear.next("\n\n").await.unwrap().starts_with("event: live\ndata: {\"time\":"));
    host.ask("POST", WRITE, "m v=1.5 7").await.ok();
    let said = ear.next("\n\n").await.unwrap();
    let data = "{\"key\":{\"bucket\":\"market\",\"measurement\":\"m\"},\"time\":7,\"fields\":{\"v\":1.5}}";
    assert_eq!(said, format!("event: row\ndata: {data}\n\n"));
}

#[tokio::test(start_paused = true)]
async fn where_nothing_is_written_there_are_signs_of_life() {
    let host = Host::new("");
    let mut ear = Ear::open(&host, "measurement=m", "application/x-ndjson").await;
    assert!(ear.line().await["live"].is_object());
    for _ in 0..2 {
        assert!(ear.line().await["heartbeat"]["time"].is_i64());
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_is_told_what_it_missed() {
    let host = Host::new("");
    let mut ear = Ear::open(&host, "measurement=m", "application/x-ndjson").await;
    assert!(ear.line().await["live"].is_object());
    let text = "x".repeat(60_000);
    const WRITES: u64 = 400;
    for i in 0..WRITES {
        host.ask("POST", WRITE, format!("m s=\"{text}\" {i}")).await.ok();
    }
    let (mut rows, mut lagged) = (0, Value::Null);
    while lagged.is_null() {
        let line = ear.line().await;
        rows += u64::from(line["row"].is_object());
        lagged = line["lagged"].clone();
    }
    assert!(rows > 10 && rows + lagged["rows"].as_u64().unwrap() == WRITES, "{rows} {lagged}");
    assert_eq!((&lagged["first"], &lagged["last"]), (&json!(rows), &json!(WRITES - 1)));
    // And it goes on.
    host.ask("POST", WRITE, "m s=\"again\" 500").await.ok();
    assert_eq!(ear.line().await["row"]["time"], 500);
}

#[tokio::test]
async fn who_may_listen_and_what_is_refused() {
    let host = Host::new("");
    assert_eq!(host.tcp("GET", "/v1/series/tail?measurement=m", None, "").await.status, 401);
    for wrong in ["", "measurement=", "measurement=m&from=soon", "measurement=m&since=1"] {
        host.ask("GET", &format!("/v1/series/tail?{wrong}"), "").await.problem(400, "invalid");
    }
    let mut ears = Vec::new();
    for _ in 0..shiphold_storage::series::tail::TAILS_MAX {
        ears.push(Ear::open(&host, "measurement=m", "application/x-ndjson").await);
    }
    host.ask("GET", "/v1/series/tail?measurement=m", "").await.problem(503, "busy");
    // Who goes away makes room.
    drop(ears);
    let begin = std::time::Instant::now();
    loop {
        let path = "/v1/series/tail?measurement=m";
        let answer = host.socket.clone().oneshot(request("GET", path, &[], "")).await.unwrap();
        if answer.status() == 200 {
            break;
        }
        assert!(begin.elapsed().as_secs() < 30);
        tokio::task::yield_now().await;
    }
}
