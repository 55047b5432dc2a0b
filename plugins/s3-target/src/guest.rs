//! What stands between the client and the host: WIT types in, WIT types out.

wit_bindgen::generate!({ world: "backup-target-plugin", path: "../../wit" });

use crate::client::{Client, Request, Response, Transport};
use crate::config::Config;
use crate::error::Error;
use crate::sigv4::Credentials;
use crate::upload;
use exports::shiphold::host::backup_target::{BlobInfo, Guest, GuestUpload, Upload};
use shiphold::host::types::Error as WitError;
use shiphold::host::{clock, config as host_config, http, secrets};
use std::cell::RefCell;
use std::rc::Rc;

struct S3Target;

struct HostHttp;

impl Transport for HostHttp {
    fn send(&self, request: Request) -> Result<Response, Error> {
        let Request { method, url, headers, body } = request;
        let answer =
            http::send(&http::Request { method: method.into(), url, headers, body }).map_err(inward)?;
        Ok(Response { status: answer.status, headers: answer.headers, body: answer.body })
    }

    fn now(&self) -> i64 {
        clock::now()
    }
}

/// Made anew for each call: a secret that the operator replaced counts at once.
fn client() -> Result<Rc<Client<HostHttp>>, Error> {
    let config = Config::parse(&host_config::get()).map_err(Error::Invalid)?;
    let secret = |name: &str| secrets::get(name).map_err(inward);
    let credentials = Credentials {
        access_key: secret(&config.access_key)?,
        secret_key: secret(&config.secret_key)?,
        session_token: config.session_token.as_deref().map(secret).transpose()?,
    };
    Ok(Rc::new(Client::new(config, credentials, HostHttp)))
}

struct Incoming(RefCell<upload::Upload<HostHttp>>);

impl GuestUpload for Incoming {
    fn write(&self, bytes: Vec<u8>) -> Result<(), WitError> {
        self.0.borrow_mut().write(&bytes).map_err(outward)
    }

    fn finish(&self) -> Result<(), WitError> {
        self.0.borrow_mut().finish().map_err(outward)
    }
}

impl Guest for S3Target {
    type Upload = Incoming;

    fn put(name: String, size: u64) -> Result<Upload, WitError> {
        let upload = client().and_then(|c| c.put(&name, size)).map_err(outward)?;
        Ok(Upload::new(Incoming(RefCell::new(upload))))
    }

    fn get(name: String, offset: u64, length: u32) -> Result<Vec<u8>, WitError> {
        client().and_then(|c| c.get(&name, offset, length)).map_err(outward)
    }

    fn list(prefix: String, after: Option<String>, limit: u32) -> Result<Vec<BlobInfo>, WitError> {
        let blobs = client().and_then(|c| c.list(&prefix, after.as_deref(), limit)).map_err(outward)?;
        Ok(blobs.into_iter().map(|b| BlobInfo { name: b.name, size: b.size }).collect())
    }

    fn stat(name: String) -> Result<Option<BlobInfo>, WitError> {
        let blob = client().and_then(|c| c.stat(&name)).map_err(outward)?;
        Ok(blob.map(|b| BlobInfo { name: b.name, size: b.size }))
    }

    fn delete(name: String) -> Result<(), WitError> {
        client().and_then(|c| c.delete(&name)).map_err(outward)
    }
}

fn inward(error: WitError) -> Error {
    match error {
        WitError::Invalid(s) => Error::Invalid(s),
        WitError::NotFound(s) => Error::NotFound(s),
        WitError::Denied(s) => Error::Denied(s),
        WitError::Limit(s) => Error::Limit(s),
        WitError::Conflict(s) => Error::Conflict(s),
        WitError::Timeout(s) => Error::Timeout(s),
        WitError::Unavailable(s) => Error::Unavailable(s),
    }
}

fn outward(error: Error) -> WitError {
    match error {
        Error::Invalid(s) => WitError::Invalid(s),
        Error::NotFound(s) => WitError::NotFound(s),
        Error::Denied(s) => WitError::Denied(s),
        Error::Limit(s) => WitError::Limit(s),
        Error::Conflict(s) => WitError::Conflict(s),
        Error::Timeout(s) => WitError::Timeout(s),
        Error::Unavailable(s) => WitError::Unavailable(s),
    }
}

export!(S3Target);
