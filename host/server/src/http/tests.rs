//! The routes over real stores in a temporary folder, without a network.

mod content;
mod gates;
mod influx;
mod nouns;
mod rows;
mod state;
mod tail;
mod trades;

use super::{Door, router};
use crate::app::App;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::Value;
use shiphold_storage::{Caller, DataLayer, Manifest, Scope};
use std::sync::Arc;
use tower::ServiceExt as _;

/// A host in a folder of its own, seen through both doors.
struct Host {
    dir: tempfile::TempDir,
    app: Arc<App>,
    tcp: Router,
    socket: Router,
}

/// An answer that was read whole.
#[derive(Debug)]
struct Got {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Got {
    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }
    #[track_caller]
    fn ok(self) -> Self {
        assert!(self.status.is_success(), "{} {}", self.status, self.text());
        self
    }
    /// A problem document of this status and code.
    #[track_caller]
    fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(
            (self.status.as_u16(), self.json()["code"].as_str()),
            (status, Some(code)),
            "{}",
            self.text()
        );
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(self.json()["status"], status);
        self.json()
    }
}

impl Host {
    fn new(toml: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let text = format!(
            "[disk]\nwarn_below = \"2 MiB\"\nread_only_below = \"1 MiB\"\nreserve = \"0 B\"\n\
             [files.models]\nkind = \"models\"\nfile_max = \"64 KiB\"\n{toml}"
        );
        let manifest = Manifest::parse(&text, &dir.path().join("shiphold.toml")).unwrap();
        let app = App::new(DataLayer::open(&manifest).unwrap()).unwrap();
        let (tcp, socket) = (router(app.clone(), Door::Tcp), router(app.clone(), Door::Socket));
        Self { dir, app, tcp, socket }
    }

    fn token(&self, scope: Scope) -> String {
        self.app.layer.tokens().create(&Caller::Operator, &format!("{scope}"), scope, None).unwrap().1
    }

    /// Through the socket: as the operator.
    async fn ask(&self, method: &str, path: &str, body: impl Into<Body>) -> Got {
        send(&self.socket, method, path, &[], body).await
    }

    /// Over TCP, with a token if there is one.
    async fn tcp(&self, method: &str, path: &str, token: Option<&str>, body: impl Into<Body>) -> Got {
        let auth = token.map(|t| format!("Token {t}"));
        let mut headers = vec![("host", "127.0.0.1:8087")];
        headers.extend(auth.as_deref().map(|a| ("authorization", a)));
        send(&self.tcp, method, path, &headers, body).await
    }
}

fn request(method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    for (k, v) in headers {
        request = request.header(*k, *v);
    }
    request.body(body.into()).unwrap()
}

async fn send(
    router: &Router,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Body>,
) -> Got {
    let answer = router.clone().oneshot(request(method, path, headers, body)).await.unwrap();
    let (parts, body) = answer.into_parts();
    Got {
        status: parts.status,
        headers: parts.headers,
        body: body.collect().await.unwrap().to_bytes().to_vec(),
    }
}
