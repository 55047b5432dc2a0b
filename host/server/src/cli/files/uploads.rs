//! Files in parts, and whole folders.

use super::super::client::{Client, body_json, file_body, segment, segments, with_query};
use super::super::output::{Failure, Output};
use super::keeping::MadeOf;
use axum::body::Body;
use axum::http::{Method, Request, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use shiphold_storage::files::BATCH_FILES_MAX;
use std::path::{Path, PathBuf};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

/// Bytes of one part.
const PART_BYTES: u64 = 8 << 20;
/// Bytes of the files of one batch; a file of more goes alone.
const BATCH_BYTES: u64 = 16 << 20;
const SINGLE_BYTES: u64 = 1 << 20;
/// How deep a folder is looked into.
const DEPTH_MAX: usize = 32;

fn unreadable(path: &Path) -> impl Fn(std::io::Error) -> Failure {
    let path = path.display().to_string();
    move |e| Failure::plain(format!("{path}: {e}")).hinted("name a file that exists and can be read")
}

pub(super) async fn list(client: &Client, out: &Output, store: &str) -> Result<(), Failure> {
    let v = client.get(&format!("/v1/files/{}/uploads", segment(store))).await?;
    let columns = [
        ("id", "id"),
        ("name", "path"),
        ("received", "received"),
        ("by", "by"),
        ("created", "created_at"),
        ("expires", "expires_at"),
    ];
    out.list(&v, &columns, "no upload is under way");
    Ok(())
}

/// Sends a file in parts, from where an earlier try ended.
pub(super) async fn upload(
    client: &Client,
    out: &Output,
    (store, name, file): (&str, &str, &Path),
    resume: Option<String>,
    media_type: Option<String>,
    made_of: &MadeOf,
) -> Result<(), Failure> {
    let wrong = unreadable(file);
    let mut source = tokio::fs::File::open(file).await.map_err(&wrong)?;
    let base = format!("/v1/files/{}/uploads", segment(store));
    let begun = match &resume {
        Some(id) => client.get(&format!("{base}/{}", segment(id))).await?,
        None => {
            let mut body = json!({ "path": name, "media_type": media_type });
            if let (Some(map), Some(made_of)) = (body.as_object_mut(), made_of.json()?) {
                map.insert("provenance".into(), made_of);
            }
            client.post(&base, &body).await?
        }
    };
    let text = |key: &str| begun.get(key).and_then(Value::as_str).unwrap_or_default().to_string();
    let (id, of) = (text("id"), text("path"));
    if of != name {
        return Err(Failure::usage(
            format!("the upload {id} is of {of}, not of {name}"),
            "name the same file",
        ));
    }
    if !out.json && resume.is_none() {
        out.line(format!("upload {id}"));
    }
    let mut at = begun.get("received").and_then(Value::as_u64).unwrap_or_default();
    let total = source.metadata().await.map_err(&wrong)?.len();
    let bar = out.progress("sending");
    bar.set_length(total);
    let mut hasher = blake3::Hasher::new();
    let mut read = 0_u64;
    let mut part = Vec::new();
    source.rewind().await.map_err(&wrong)?;
    loop {
        part.clear();
        // What is there already is read for the hash of the whole.
        let want = if read < at { PART_BYTES.min(at - read) } else { PART_BYTES };
        let n = (&mut source).take(want).read_to_end(&mut part).await.map_err(&wrong)?;
        if n == 0 {
            break;
        }
        hasher.update(&part);
        if read >= at {
            let hash = blake3::hash(&part).to_hex().to_string();
            let query = [("offset", Some(at.to_string())), ("blake3", Some(hash))];
            let request = Request::builder()
                .method(Method::PATCH)
                .uri(with_query(&format!("{base}/{}", segment(&id)), &query))
                .header(header::HOST, "localhost")
                .body(Body::from(part.clone()))
                .map_err(|e| Failure::plain(e.to_string()))?;
            let answer = client.send(request).await.map_err(|f| {
                if f.hint.is_some() { f } else { f.hinted(&format!("go on with --resume {id}")) }
            })?;
            body_json(answer).await?;
            at += n as u64;
        }
        read += n as u64;
        bar.set_position(read);
    }
    bar.finish_and_clear();
    let whole = hasher.finalize().to_hex().to_string();
    let body = json!({ "blake3": whole, "size": read });
    let v = client.post(&format!("{base}/{}/finish", segment(&id)), &body).await?;
    let version = v.get("version").and_then(Value::as_u64).unwrap_or_default();
    out.done(&v, format!("{store}/{name} version {version} ({read} bytes, blake3 {whole})"));
    Ok(())
}

/// The files below a folder with their names, in order. A link is not followed.
fn files_of(folder: &Path) -> Result<Vec<(String, PathBuf, u64)>, Failure> {
    fn walk(
        dir: &Path,
        name: &str,
        depth: usize,
        to: &mut Vec<(String, PathBuf, u64)>,
    ) -> Result<(), Failure> {
        let wrong = unreadable(dir);
        if depth > DEPTH_MAX {
            return Err(Failure::usage(
                format!("{}: it is too deep", dir.display()),
                "name a folder below it",
            ));
        }
        for entry in std::fs::read_dir(dir).map_err(&wrong)? {
            let entry = entry.map_err(&wrong)?;
            let file = entry.file_name();
            let part = file.to_str().ok_or_else(|| {
                Failure::usage(format!("{}: its name is not UTF-8", entry.path().display()), "rename it")
            })?;
            let name = if name.is_empty() { part.to_string() } else { format!("{name}/{part}") };
            let kind = entry.file_type().map_err(&wrong)?;
            if kind.is_dir() {
                walk(&entry.path(), &name, depth + 1, to)?;
            } else if kind.is_file() {
                let bytes = entry.metadata().map_err(&wrong)?.len();
                to.push((name, entry.path(), bytes));
            }
        }
        Ok(())
    }
    let mut all = Vec::new();
    walk(folder, "", 0, &mut all)?;
    all.sort();
    Ok(all)
}

/// Stores all files of a folder: small ones many at a time.
pub(super) async fn put_folder(
    client: &Client,
    out: &Output,
    store: &str,
    folder: &Path,
    prefix: &str,
) -> Result<(), Failure> {
    let prefix = prefix.trim_end_matches('/');
    let all = files_of(folder)?;
    let bar = out.progress("storing");
    bar.set_length(all.len() as u64);
    let (mut files, mut bytes) = (0_u64, 0_u64);
    let mut batch: Vec<Value> = Vec::new();
    let mut held = 0;
    for (name, path, size) in all {
        let name = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
        files += 1;
        bytes += size;
        bar.inc(1);
        if size > SINGLE_BYTES {
            let request = Request::builder()
                .method(Method::PUT)
                .uri(format!("/v1/files/{}/content/{}", segment(store), segments(&name)))
                .header(header::HOST, "localhost")
                .body(file_body(&path).await?)
                .map_err(|e| Failure::plain(e.to_string()))?;
            body_json(client.send(request).await?).await?;
            continue;
        }
        if batch.len() >= BATCH_FILES_MAX || held + size > BATCH_BYTES {
            send(client, store, &mut batch).await?;
            held = 0;
        }
        let content = tokio::fs::read(&path).await.map_err(unreadable(&path))?;
        held += content.len() as u64;
        batch.push(json!({ "path": name, "base64": STANDARD.encode(content) }));
    }
    send(client, store, &mut batch).await?;
    bar.finish_and_clear();
    let v = json!({ "store": store, "files": files, "bytes": bytes });
    out.done(&v, format!("{files} files are in {store} ({bytes} bytes)"));
    Ok(())
}

async fn send(client: &Client, store: &str, batch: &mut Vec<Value>) -> Result<(), Failure> {
    if batch.is_empty() {
        return Ok(());
    }
    let files = std::mem::take(batch);
    client.post(&format!("/v1/files/{}/batch", segment(store)), &json!({ "files": files })).await.map(drop)
}
