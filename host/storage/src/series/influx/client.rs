//! Requests to the server: a runtime of their own under blocking calls, bounded replies, retries.

use super::answers::Server;
use super::outbox::jittered;
use super::reply::short;
use crate::error::{Error, Kind, Result};
use crate::manifest::Influxdb2;
use crate::series::{Budget, Fault};
use influxdb2::api::organization::ListOrganizationRequest;
use influxdb2::models::{PostBucketRequest, health::Status};
use influxdb2::{ClientBuilder, RequestError};
use reqwest::{StatusCode, Url, header};
use serde_json::json;
use std::future::Future;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;
use tokio::sync::Semaphore;

/// Bytes of one reply.
pub(super) const REPLY_BYTES_MAX: usize = 256 << 20;
/// Bytes of the reply to a question for a page, which can be asked for a smaller one.
pub(super) const PAGE_BYTES_MAX: usize = 64 << 20;
/// Bytes of an error that are read.
const ERROR_BYTES_MAX: usize = 64 << 10;
/// Tries of a request to a server that says it is busy (429, 503).
pub(super) const TRIES_MAX: u32 = 4;
/// The wait before the second try; it doubles.
pub(super) const BACKOFF: Duration = Duration::from_millis(100);
/// A longer `Retry-After` is an error at once: the caller tries again later.
pub(super) const RETRY_AFTER_MAX: Duration = Duration::from_secs(2);
/// Requests at once, and connections that are kept.
const CONNECTIONS_MAX: usize = 16;
/// The longest wait for a connection.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How often a waiting call looks whether it was cancelled.
const CANCEL_CHECK: Duration = Duration::from_millis(20);

/// One server, one organisation, one token.
#[derive(Debug)]
pub(super) struct Client {
    /// Taken when dropped.
    runtime: Option<tokio::runtime::Runtime>,
    api: influxdb2::Client,
    pub(super) http: reqwest::Client,
    pub(super) server: Server,
    /// Requests that may be made at once; others wait for their turn.
    permits: Arc<Semaphore>,
}

/// What came back for one request.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: StatusCode,
    /// When the server asks to be asked again.
    pub after: Option<Duration>,
    pub body: Vec<u8>,
}

impl Client {
    pub fn new(config: &Influxdb2, token: &str) -> Result<Self> {
        let url = address(&config.url).map_err(|why| {
            Error::invalid(format!("series.influxdb2.url `{}` {why}", config.url))
                .hint("write it as `http://127.0.0.1:8086`")
        })?;
        let mut auth = header::HeaderValue::from_str(&format!("Token {token}")).map_err(|_| {
            Error::invalid(format!("the secret `{}` is not a token of InfluxDB", config.token))
        })?;
        auth.set_sensitive(true);
        let timeout = config.timeout.0;
        // No redirects and no proxies: the token goes to the server that is named and to nobody else.
        let builder = || {
            reqwest::Client::builder()
                .timeout(timeout)
                .connect_timeout(timeout.min(CONNECT_MAX))
                .pool_max_idle_per_host(CONNECTIONS_MAX)
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
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        Ok(Self { runtime: Some(runtime), api, http, server, permits })
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
        let permits = self.permits.clone();
        let task = runtime.spawn(async move {
            // It is never closed; if it were, nothing but the bound would be lost.
            let _permit = permits.acquire_owned().await;
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

    /// A Flux query; its annotated CSV. A bucket that does not exist is [`Kind::NotFound`].
    pub fn query(&self, flux: &str, budget: &Budget) -> Result<Vec<u8>> {
        self.query_up_to(flux, REPLY_BYTES_MAX, budget)
    }

    /// [`Client::query`]; more than so many bytes are [`Kind::Limit`].
    pub fn query_up_to(&self, flux: &str, bytes_max: usize, budget: &Budget) -> Result<Vec<u8>> {
        let body = json!({
            "query": flux,
            "type": "flux",
            "dialect": {"annotations": ["datatype", "group", "default"], "dateTimeFormat": "RFC3339Nano"},
        });
        let reply = self.post("/api/v2/query", &[], body, bytes_max, budget)?;
        // Where there is nothing to tell, the server sends an empty line.
        if reply.is_empty() { Err(super::reply::empty()) } else { Ok(reply) }
    }

    /// Deletes what a predicate chooses between two times, both included.
    pub fn delete(&self, bucket: &str, first: i64, last: i64, predicate: &str) -> Result<()> {
        let body = json!({"start": rfc3339(first), "stop": rfc3339(last), "predicate": predicate});
        let budget = Budget::default();
        self.post("/api/v2/delete", &[("bucket", bucket)], body, REPLY_BYTES_MAX, &budget).map(|_| ())
    }

    /// The address of a route, with the organisation.
    pub(super) fn url(&self, path: &str, query: &[(&str, &str)]) -> Url {
        let mut url = self.server.url.clone();
        url.set_path(path);
        url.query_pairs_mut().append_pair("org", &self.server.org).extend_pairs(query);
        url
    }

    /// A question that changes nothing when it is asked twice.
    fn post(
        &self,
        path: &str,
        query: &[(&str, &str)],
        body: serde_json::Value,
        bytes_max: usize,
        budget: &Budget,
    ) -> Result<Vec<u8>> {
        let url = self.url(path, query);
        let body = body.to_string();
        self.ask(bytes_max, budget, || {
            let request = self.http.post(url.clone()).header(header::CONTENT_TYPE, "application/json");
            request.body(body.clone())
        })
    }

    /// Asks, and asks a busy server again.
    pub(super) fn ask(
        &self,
        bytes_max: usize,
        budget: &Budget,
        request: impl Fn() -> reqwest::RequestBuilder,
    ) -> Result<Vec<u8>> {
        let mut backoff = BACKOFF;
        for attempt in 1.. {
            let answer = self.send_up_to(request(), bytes_max, budget)?;
            if answer.status.is_success() {
                return Ok(answer.body);
            }
            let after = answer.after.unwrap_or_else(|| jittered(backoff));
            if !busy(answer.status) || attempt >= TRIES_MAX || after > RETRY_AFTER_MAX {
                return Err(self.server.refused(answer.status, &String::from_utf8_lossy(&answer.body)));
            }
            self.rest(after, budget)?;
            backoff *= 2;
        }
        Err(Error::internal("a request to InfluxDB was never made"))
    }

    /// Waits, for as long as the budget lasts.
    pub(super) fn rest(&self, wait: Duration, budget: &Budget) -> Result<()> {
        self.wait(budget, async move {
            tokio::time::sleep(wait).await;
            Ok(())
        })
    }

    /// One request; its answer is bounded, whatever it says.
    pub(super) fn send(&self, request: reqwest::RequestBuilder, budget: &Budget) -> Result<Answer> {
        self.send_up_to(request, REPLY_BYTES_MAX, budget)
    }

    fn send_up_to(
        &self,
        request: reqwest::RequestBuilder,
        bytes_max: usize,
        budget: &Budget,
    ) -> Result<Answer> {
        let server = self.server.clone();
        self.wait(budget, async move {
            let mut answer = request.send().await.map_err(|e| server.unreachable(e))?;
            let status = answer.status();
            let after = retry_after(answer.headers());
            let bound = if status.is_success() { bytes_max } else { ERROR_BYTES_MAX };
            if status.is_success() && !says_where_it_ends(&answer) {
                return Err(server.endless());
            }
            // What says that it is too long is not read.
            let mut body = Vec::new();
            if answer.content_length().is_some_and(|n| n > bound as u64) && status.is_success() {
                return Err(too_long(bound));
            }
            while let Some(part) = answer.chunk().await.map_err(|e| server.unreachable(e))? {
                if body.len() + part.len() > bound {
                    if status.is_success() {
                        return Err(too_long(bound));
                    }
                    break;
                }
                body.extend_from_slice(&part);
            }
            Ok(Answer { status, after, body })
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

fn too_long(bound: usize) -> Error {
    Error::limit("a reply of InfluxDB", format!("{bound} bytes"), "narrow the range")
}

/// Can it be told whether it came whole? A body that ends with its connection is as whole as one whose connection was cut.
fn says_where_it_ends(answer: &reqwest::Response) -> bool {
    let chunked = answer.headers().contains_key(header::TRANSFER_ENCODING);
    answer.version() > reqwest::Version::HTTP_11 || chunked || answer.content_length().is_some()
}

/// The address of a server: a scheme, a host and a port; or what is wrong with it.
pub(crate) fn address(text: &str) -> std::result::Result<Url, &'static str> {
    let url = Url::parse(text).ok().filter(|u| matches!(u.scheme(), "http" | "https") && u.has_host());
    let url = url.ok_or("is not an address of HTTP")?;
    if url.path() != "/" || url.query().is_some() || !url.username().is_empty() {
        return Err("has more than a scheme, a host and a port");
    }
    Ok(url)
}

pub(super) fn busy(status: StatusCode) -> bool {
    matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
}

/// `Retry-After` in either of its forms: seconds, or a date.
fn retry_after(headers: &header::HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = chrono::DateTime::parse_from_rfc2822(text).ok()?;
    Some((date.to_utc() - chrono::Utc::now()).to_std().unwrap_or_default())
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
    fn retry_after_has_two_forms() {
        let read = |text: &str| {
            retry_after(&std::iter::once((header::RETRY_AFTER, text.parse().unwrap())).collect())
        };
        assert_eq!(read("7"), Some(Duration::from_secs(7)));
        assert_eq!(read("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO), "it is past");
        let later = (chrono::Utc::now() + chrono::TimeDelta::days(2)).to_rfc2822();
        assert!(read(&later).unwrap() > Duration::from_secs(86_400));
        assert_eq!((read("soon"), read("-1")), (None, None));
    }

    #[test]
    fn the_token_is_not_shown() {
        let config = crate::series::influx::fake_server::settings("http://127.0.0.1:1");
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
