//! The requests of the S3 API that a backup target needs, one exchange each.
//!
//! Nothing is sent again here: what may help later is `unavailable`, and the host decides when.

use crate::answers;
use crate::config::{Config, check_name};
use crate::encode;
use crate::error::Error;
use crate::sigv4::{Canonical, Credentials, Scope, authorization, sha256_hex};
use crate::time;
use crate::upload::Upload;
use std::rc::Rc;

/// Bytes of a key, the prefix included: S3's own bound.
const KEY_BYTES_MAX: usize = 1_024;
/// Objects of one page: S3's own bound.
const PAGE_MAX: u32 = 1_000;
/// Objects of one `list`.
pub const LIST_MAX: u32 = 10_000;
/// Pages without an object in one `list`; a server that sends more goes nowhere.
const EMPTY_PAGES_MAX: u32 = 16;

/// Header names in lower case.
pub type Headers = Vec<(String, String)>;

#[derive(Debug)]
pub struct Request {
    pub method: &'static str,
    pub url: String,
    /// Without `host`, which the transport writes from the URL.
    pub headers: Headers,
    pub body: Vec<u8>,
}

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Headers,
    pub body: Vec<u8>,
}

/// What the client stands on.
pub trait Transport {
    fn send(&self, request: Request) -> Result<Response, Error>;
    /// Nanoseconds since the Unix epoch.
    fn now(&self) -> i64;
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    pub name: String,
    /// Bytes.
    pub size: u64,
}

pub struct Client<T> {
    pub(crate) config: Config,
    credentials: Credentials,
    transport: T,
}

impl<T: Transport> Client<T> {
    pub fn new(config: Config, credentials: Credentials, transport: T) -> Self {
        Self { config, credentials, transport }
    }

    /// Starts a blob. A name is written once: where it is there already, what is written is compared with it.
    pub fn put(self: &Rc<Self>, name: &str, size: u64) -> Result<Upload<T>, Error> {
        let there = self.stat(name)?;
        Upload::new(Rc::clone(self), name, size, there.map(|blob| blob.size))
    }

    /// At most `length` bytes; none at and behind the end.
    pub fn get(&self, name: &str, offset: u64, length: u32) -> Result<Vec<u8>, Error> {
        let key = self.key(name)?;
        if length == 0 {
            return Ok(Vec::new());
        }
        let last = offset.saturating_add(u64::from(length) - 1);
        let range = ("range".to_string(), format!("bytes={offset}-{last}"));
        let what = format!("GET of `{name}`");
        let answer = self.send("GET", &key, &[], vec![range], Vec::new())?;
        let fits = |body: &[u8]| u64::try_from(body.len()).is_ok_and(|n| n <= u64::from(length));
        match answer.status {
            206 => {
                let begins = answer.header("content-range").and_then(range_start);
                if begins != Some(offset) || !fits(&answer.body) {
                    return Err(Error::Invalid(format!(
                        "{what}: the S3 server sent another range than `bytes={offset}-{last}`"
                    )));
                }
                Ok(answer.body)
            }
            200 if offset == 0 && fits(&answer.body) => Ok(answer.body),
            200 => Err(Error::Invalid(format!("{what}: the S3 server knows no ranges"))),
            416 => Ok(Vec::new()),
            status => Err(Error::of_answer(&what, status, &answer.body)),
        }
    }

    pub fn list(&self, prefix: &str, after: Option<&str>, limit: u32) -> Result<Vec<Blob>, Error> {
        if limit > LIST_MAX {
            return Err(Error::Limit(format!(
                "`list` gives at most {LIST_MAX} names; {limit} were asked for"
            )));
        }
        let limit = usize::try_from(limit).unwrap_or_default();
        let full_prefix = format!("{}{prefix}", self.config.prefix);
        let mut last = after.map(|a| format!("{}{a}", self.config.prefix)).unwrap_or_default();
        let (mut found, mut next, mut empty) = (Vec::new(), None::<String>, 0);
        while found.len() < limit {
            let wanted = u32::try_from(limit - found.len()).unwrap_or(PAGE_MAX).min(PAGE_MAX).to_string();
            let mut query =
                vec![("list-type", "2"), ("prefix", full_prefix.as_str()), ("max-keys", wanted.as_str())];
            let start = last.clone();
            match &next {
                Some(token) => query.push(("continuation-token", token)),
                None if !start.is_empty() => query.push(("start-after", &start)),
                None => {}
            }
            let what = format!("list of `{full_prefix}`");
            let answer = self.send("GET", "", &query, Vec::new(), Vec::new())?;
            if answer.status != 200 {
                return Err(Error::of_answer(&what, answer.status, &answer.body));
            }
            let wrong = |why: &str| Error::Invalid(format!("{what}: the S3 server's answer is wrong: {why}"));
            let page = answers::page(&answer.body).map_err(|e| wrong(&e))?;
            if page.objects.is_empty() {
                empty += 1;
                if empty > EMPTY_PAGES_MAX {
                    return Err(wrong("page after page is empty"));
                }
            }
            for (key, size) in page.objects {
                // Also ends the walk with a server that sends the same page for ever.
                if key <= last || !key.starts_with(&full_prefix) {
                    return Err(wrong("the keys are not in order, or not under the prefix"));
                }
                let name = key.strip_prefix(&self.config.prefix).unwrap_or_default().to_string();
                last = key;
                // What some consoles make for a folder is no blob.
                if !name.is_empty() && !name.ends_with('/') && found.len() < limit {
                    found.push(Blob { name, size });
                }
            }
            next = page.next;
            if next.is_none() {
                break;
            }
        }
        Ok(found)
    }

    pub fn stat(&self, name: &str) -> Result<Option<Blob>, Error> {
        let answer = self.send("HEAD", &self.key(name)?, &[], Vec::new(), Vec::new())?;
        let what = format!("HEAD of `{name}`");
        match answer.status {
            200 => {
                let size = answer.header("content-length").and_then(|v| v.trim().parse().ok());
                let size =
                    size.ok_or_else(|| Error::Invalid(format!("{what}: the S3 server told no size")))?;
                Ok(Some(Blob { name: name.into(), size }))
            }
            404 => Ok(None),
            status => Err(Error::of_answer(&what, status, &answer.body)),
        }
    }

    /// A name that is not there is deleted already.
    pub fn delete(&self, name: &str) -> Result<(), Error> {
        let answer = self.send("DELETE", &self.key(name)?, &[], Vec::new(), Vec::new())?;
        let missing = || answers::error(&answer.body).is_none_or(|(code, _)| code == "NoSuchKey");
        match answer.status {
            200 | 204 => Ok(()),
            404 if missing() => Ok(()),
            status => Err(Error::of_answer(&format!("DELETE of `{name}`"), status, &answer.body)),
        }
    }

    pub(crate) fn put_object(&self, key: &str, body: Vec<u8>) -> Result<(), Error> {
        let answer = self.send("PUT", key, &[], Vec::new(), body)?;
        if answer.status == 200 {
            Ok(())
        } else {
            Err(Error::of_answer(&format!("PUT of `{key}`"), answer.status, &answer.body))
        }
    }

    /// The upload's id.
    pub(crate) fn begin(&self, key: &str) -> Result<String, Error> {
        let answer = self.send("POST", key, &[("uploads", "")], Vec::new(), Vec::new())?;
        let what = format!("multipart upload of `{key}`");
        if answer.status != 200 {
            return Err(Error::of_answer(&what, answer.status, &answer.body));
        }
        answers::upload_id(&answer.body)
            .map_err(|e| Error::Invalid(format!("{what}: the S3 server's answer is wrong: {e}")))
    }

    /// The part's ETag.
    pub(crate) fn part(&self, key: &str, id: &str, number: u32, body: Vec<u8>) -> Result<String, Error> {
        let what = format!("part {number} of `{key}`");
        let query = [("partNumber", &*number.to_string()), ("uploadId", id)];
        let answer = self.send("PUT", key, &query, Vec::new(), body)?;
        if answer.status != 200 {
            return Err(Error::of_answer(&what, answer.status, &answer.body));
        }
        let etag = answer.header("etag").filter(|e| !e.is_empty() && !e.contains(['<', '>', '&']));
        etag.map(str::to_string).ok_or_else(|| Error::Invalid(format!("{what}: the S3 server sent no ETag")))
    }

    pub(crate) fn complete(&self, key: &str, id: &str, etags: &[String]) -> Result<(), Error> {
        let parts: String = (1..)
            .zip(etags)
            .map(|(n, e): (u32, _)| format!("<Part><PartNumber>{n}</PartNumber><ETag>{e}</ETag></Part>"))
            .collect();
        let body = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
        let answer = self.send("POST", key, &[("uploadId", id)], Vec::new(), body.into_bytes())?;
        if answer.status == 200 && answers::is_completed(&answer.body) {
            Ok(())
        } else {
            Err(Error::of_answer(&format!("completion of `{key}`"), answer.status, &answer.body))
        }
    }

    pub(crate) fn abort(&self, key: &str, id: &str) -> Result<(), Error> {
        let answer = self.send("DELETE", key, &[("uploadId", id)], Vec::new(), Vec::new())?;
        match answer.status {
            200 | 204 | 404 => Ok(()),
            status => Err(Error::of_answer(&format!("abort of `{key}`"), status, &answer.body)),
        }
    }

    pub(crate) fn key(&self, name: &str) -> Result<String, Error> {
        let bytes_max = KEY_BYTES_MAX - self.config.prefix.len().min(KEY_BYTES_MAX);
        check_name(name, bytes_max).map_err(|e| Error::Invalid(format!("the blob's name {e}")))?;
        Ok(format!("{}{name}", self.config.prefix))
    }

    fn send(
        &self,
        method: &'static str,
        key: &str,
        query: &[(&str, &str)],
        more: Headers,
        body: Vec<u8>,
    ) -> Result<Response, Error> {
        let stamp = time::stamp(self.transport.now());
        let path = match (self.config.bucket_path.as_str(), key) {
            (bucket, "") if !bucket.is_empty() => bucket.to_string(),
            (bucket, key) => format!("{bucket}/{}", encode::path(key)),
        };
        let query = encode::query(query);
        let payload = sha256_hex(&body);
        let mut headers = more;
        headers.push(("x-amz-content-sha256".into(), payload.clone()));
        headers.push(("x-amz-date".into(), stamp.clone()));
        if let Some(token) = &self.credentials.session_token {
            headers.push(("x-amz-security-token".into(), token.clone()));
        }
        headers.push(("host".into(), self.config.host.clone()));
        let scope = Scope { stamp: &stamp, region: &self.config.region, service: "s3" };
        let canonical =
            Canonical { method, path: &path, query: &query, headers: &headers, payload: &payload };
        let signed = authorization(&self.credentials, &scope, &canonical);
        headers.retain(|(name, _)| name != "host");
        headers.push(("authorization".into(), signed));
        let mark = if query.is_empty() { "" } else { "?" };
        let url = format!("{}{path}{mark}{query}", self.config.base);
        self.transport.send(Request { method, url, headers, body }).map_err(|e| match e {
            Error::Timeout(sentence) => Error::Unavailable(sentence),
            other => other,
        })
    }
}

impl Response {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }
}

/// Where `bytes 3-9/100` begins.
fn range_start(value: &str) -> Option<u64> {
    value.trim().strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}
