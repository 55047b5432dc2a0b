//! Requests to the server: a runtime of their own under blocking calls, bounded replies, retries.

use super::answers::{Server, WriteAnswer};
use super::reply::short;
use crate::error::{Error, Kind, Result};
use crate::manifest::Influxdb2;
use crate::series::{Budget, Fault};
use influxdb2::api::buckets::ListBucketsRequest;
use influxdb2::api::organization::ListOrganizationRequest;
use influxdb2::models::{PostBucketRequest, health::Status};
use influxdb2::{ClientBuilder, RequestError};
use reqwest::{StatusCode, Url, header};
use serde_json::json;
use std::future::Future;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

/// Bytes of one reply.
pub(super) const REPLY_BYTES_MAX: usize = 256 << 20;
/// Bytes of an error that are read.
const ERROR_BYTES_MAX: usize = 64 << 10;
/// Tries of a request to a server that says it is busy (429, 503).
pub(super) const TRIES_MAX: u32 = 4;
/// The wait before the second try; it doubles.
const BACKOFF: Duration = Duration::from_millis(100);
/// A longer `Retry-After` is an error at once: the caller tries again later.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(2);
/// How often a waiting call looks whether it was cancelled.
const CANCEL_CHECK: Duration = Duration::from_millis(20);
/// Buckets in one page of the list: InfluxDB's own bound.
const BUCKETS_PAGE: u8 = 100;
/// Pages that are read: a server that never ends its list is no reason to hang.
const BUCKET_PAGES_MAX: usize = 1_000;

/// One server, one organisation, one token.
#[derive(Debug)]
pub(super) struct Client {
    /// Taken when dropped.
    runtime: Option<tokio::runtime::Runtime>,
    api: influxdb2::Client,
    http: reqwest::Client,
    server: Server,
}

impl Client {
    pub fn new(config: &Influxdb2, token: &str) -> Result<Self> {
        let url =
            Url::parse(&config.url).ok().filter(|u| matches!(u.scheme(), "http" | "https") && u.has_host());
        let bad = |why: &str| {
            Error::invalid(format!("series.influxdb2.url `{}` {why}", config.url))
                .hint("write it as `http://127.0.0.1:8086`")
        };
        let url = url.ok_or_else(|| bad("is not an address of HTTP"))?;
        if url.path() != "/" || url.query().is_some() || !url.username().is_empty() {
            return Err(bad("has more than a scheme, a host and a port"));
        }
        let mut auth = header::HeaderValue::from_str(&format!("Token {token}")).map_err(|_| {
            Error::invalid(format!("the secret `{}` is not a token of InfluxDB", config.token))
        })?;
        auth.set_sensitive(true);
        let timeout = config.timeout.0;
        // No redirects and no proxies: the token goes to the server that is named and to nobody else.
        let builder = || {
            reqwest::Client::builder()
                .timeout(timeout)
                .redirect(reqwest::redirect::Policy::none())
                .no_proxy()
                .no_gzip()
        };
        let http = builder()
            .default_headers(std::iter::once((header::AUTHORIZATION, auth)).collect())
            .build()
            .map_err(|e| Error::internal("no HTTP client").source(e))?;
        let api = ClientBuilder::with_builder(builder(), url.as_str(), &config.org, token)
            .build()
            .map_err(|e| Error::internal("no InfluxDB client").source(e))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("influxdb2")
            .enable_all()
            .build()
            .map_err(|e| Error::io("starting the thread of the InfluxDB client", e))?;
        let server = Server { url, org: config.org.clone(), secret: config.token.clone(), timeout };
        Ok(Self { runtime: Some(runtime), api, http, server })
    }

    /// Runs on the runtime of this client and waits here, whatever thread this is; ends when the budget does.
    fn wait<T: Send + 'static>(
        &self,
        budget: &Budget,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        budget.check()?;
        let runtime =
            self.runtime.as_ref().ok_or_else(|| Error::internal("the InfluxDB client is closed"))?;
        let (done, result) = sync_channel(1);
        let task = runtime.spawn(async move {
            let _ = done.send(work.await);
        });
        loop {
            match result.recv_timeout(CANCEL_CHECK) {
                Ok(result) => return result,
                Err(RecvTimeoutError::Timeout) => {
                    if let Err(over) = budget.check() {
                        task.abort();
                        return Err(over);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Error::new(Kind::Unavailable, "the InfluxDB client failed on a reply"));
                }
            }
        }
    }

    /// Lines with nanosecond times to a bucket.
    pub fn write(&self, bucket: &str, body: String) -> Result<WriteAnswer> {
        let (api, server, bucket) = (self.api.clone(), self.server.clone(), bucket.to_string());
        self.wait(&Budget::default(), async move {
            let mut backoff = BACKOFF;
            for attempt in 1.. {
                match api.write_line_protocol(&server.org, &bucket, body.clone()).await {
                    Ok(()) => break,
                    Err(RequestError::Http { status, .. }) if busy(status) && attempt < TRIES_MAX => {
                        tokio::time::sleep(backoff).await;
                        backoff *= 2;
                    }
                    Err(RequestError::Http { status, text }) => {
                        return server.write_answer(&bucket, status, &text);
                    }
                    Err(e) => return Err(server.request_error(e)),
                }
            }
            Ok(WriteAnswer::Stored)
        })
    }

    /// A Flux query; its annotated CSV. A bucket that does not exist is [`Kind::NotFound`].
    pub fn query(&self, flux: &str, budget: &Budget) -> Result<Vec<u8>> {
        let body = json!({
            "query": flux,
            "type": "flux",
            "dialect": {"annotations": ["datatype", "group", "default"], "dateTimeFormat": "RFC3339Nano"},
        });
        self.post("/api/v2/query", &[], body, budget)
    }

    /// Deletes what a predicate chooses between two times, both included.
    pub fn delete(&self, bucket: &str, first: i64, last: i64, predicate: &str) -> Result<()> {
        let body = json!({"start": rfc3339(first), "stop": rfc3339(last), "predicate": predicate});
        self.post("/api/v2/delete", &[("bucket", bucket)], body, &Budget::default()).map(|_| ())
    }

    fn post(
        &self,
        path: &str,
        query: &[(&str, &str)],
        body: serde_json::Value,
        budget: &Budget,
    ) -> Result<Vec<u8>> {
        let mut url = self.server.url.clone();
        url.set_path(path);
        url.query_pairs_mut().append_pair("org", &self.server.org).extend_pairs(query);
        let (http, server) = (self.http.clone(), self.server.clone());
        self.wait(budget, async move {
            let mut backoff = BACKOFF;
            let mut attempt = 1;
            loop {
                let sent = http.post(url.clone()).header(header::CONTENT_TYPE, "application/json");
                let mut answer =
                    sent.body(body.to_string()).send().await.map_err(|e| server.unreachable(e))?;
                let status = answer.status();
                let after = retry_after(answer.headers()).unwrap_or(backoff);
                let bound = if status.is_success() { REPLY_BYTES_MAX } else { ERROR_BYTES_MAX };
                let mut reply = Vec::new();
                while let Some(part) = answer.chunk().await.map_err(|e| server.unreachable(e))? {
                    if reply.len() + part.len() > bound {
                        if status.is_success() {
                            return Err(Error::limit(
                                "a reply of InfluxDB",
                                format!("{bound} bytes"),
                                "narrow the range",
                            ));
                        }
                        break;
                    }
                    reply.extend_from_slice(&part);
                }
                if status.is_success() {
                    return Ok(reply);
                }
                if !busy(status) || attempt >= TRIES_MAX || after > RETRY_AFTER_MAX {
                    return Err(server.refused(status, &String::from_utf8_lossy(&reply)));
                }
                tokio::time::sleep(after).await;
                backoff *= 2;
                attempt += 1;
            }
        })
    }

    /// The names of the organisation's own buckets, sorted.
    pub fn buckets(&self) -> Result<Vec<String>> {
        let (api, server) = (self.api.clone(), self.server.clone());
        self.wait(&Budget::default(), async move {
            let mut names = Vec::new();
            let mut after = None;
            for _ in 0..BUCKET_PAGES_MAX {
                let page = ListBucketsRequest {
                    org: Some(server.org.clone()),
                    limit: Some(BUCKETS_PAGE),
                    after,
                    ..ListBucketsRequest::default()
                };
                let page = api.list_buckets(Some(page)).await.map_err(|e| server.request_error(e))?.buckets;
                after = page.last().and_then(|b| b.id.clone());
                let full = page.len() >= usize::from(BUCKETS_PAGE);
                // A leading underscore marks InfluxDB's own.
                names.extend(page.into_iter().map(|b| b.name).filter(|n| !n.starts_with('_')));
                if !full || after.is_none() {
                    break;
                }
            }
            names.sort();
            names.dedup();
            Ok(names)
        })
    }

    /// Makes a bucket that keeps its data for ever; one that is there already is as good.
    pub fn create_bucket(&self, bucket: &str) -> Result<()> {
        let (api, server, bucket) = (self.api.clone(), self.server.clone(), bucket.to_string());
        self.wait(&Budget::default(), async move {
            let mut question = ListOrganizationRequest::new();
            question.org = Some(server.org.clone());
            let found = api.list_organizations(question).await.map_err(|e| server.request_error(e))?;
            let id = found.orgs.into_iter().find(|o| o.name == server.org).and_then(|o| o.id);
            let id = id.ok_or_else(|| {
                Error::not_found(format!("InfluxDB has no organisation `{}`", server.org))
                    .hint("correct `org` in [series.influxdb2]")
            })?;
            match api.create_bucket(Some(PostBucketRequest::new(id, bucket.clone()))).await {
                Ok(()) => Ok(()),
                Err(RequestError::Http { text, .. }) if text.contains("already exists") => Ok(()),
                Err(e) => Err(server.request_error(e).context(format!("making the bucket `{bucket}`"))),
            }
        })
    }

    /// What the server says is wrong with it.
    pub fn health(&self, budget: &Budget) -> Result<Vec<Fault>> {
        let (api, server) = (self.api.clone(), self.server.clone());
        self.wait(budget, async move {
            let said = api.health().await.map_err(|e| server.request_error(e))?;
            Ok(match said.status {
                Status::Pass => Vec::new(),
                Status::Fail => vec![Fault {
                    object: format!("InfluxDB at {}", server.url),
                    problem: short(&said.message.unwrap_or_else(|| "it says that it is not healthy".into())),
                }],
            })
        })
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // Dropping a runtime waits, which is not allowed on a thread of another one.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn busy(status: StatusCode) -> bool {
    matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
}

fn retry_after(headers: &header::HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn rfc3339(ns: i64) -> String {
    chrono::DateTime::from_timestamp_nanos(ns).to_rfc3339_opts(chrono::SecondsFormat::Nanos, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_to_the_nanosecond() {
        assert_eq!(rfc3339(i64::MIN + 2), "1677-09-21T00:12:43.145224194Z");
        assert_eq!(rfc3339(i64::MAX - 1), "2262-04-11T23:47:16.854775806Z");
        assert_eq!(rfc3339(1), "1970-01-01T00:00:00.000000001Z");
    }

    #[test]
    fn the_token_is_not_shown() {
        let config = Influxdb2 {
            url: "http://127.0.0.1:1".into(),
            org: "o".into(),
            token: "influx".into(),
            timeout: crate::units::Span::from_secs(1),
            create_buckets: true,
        };
        let client = Client::new(&config, "hush-hush").unwrap();
        assert!(!format!("{client:?}").contains("hush"), "{client:?}");
        for url in ["", "127.0.0.1", "ftp://x/", "http://u:p@h/", "http://h/base", "http://h/?q", "unix:/x"] {
            let config = Influxdb2 { url: url.into(), ..config.clone() };
            let error = Client::new(&config, "t").unwrap_err();
            assert_eq!(error.kind(), Kind::Invalid, "{url}");
        }
        assert!(Client::new(&config, "two\nlines").is_err());
    }
}
