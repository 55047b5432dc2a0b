//! `shiphold files …`

mod keeping;
mod uploads;

use super::client::{Client, file_body, request, segment, segments, with_query};
use super::input;
use super::output::{Failure, Output};
use axum::http::{Method, Request, header};
use clap::Subcommand;
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use shiphold_storage::units::ByteSize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tokio::io::AsyncWriteExt as _;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// The files of a store, or the stores
    List {
        store: Option<String>,
        /// Only names that begin with this
        #[arg(long, default_value = "")]
        prefix: String,
        /// Only names after this one: the next page
        #[arg(long)]
        after: Option<String>,
        #[arg(long, default_value_t = 1000)]
        limit: u64,
    },
    /// Store a file as the next version of a name: type/date/name
    Put {
        store: String,
        name: String,
        file: PathBuf,
        #[arg(long, value_name = "TYPE/SUBTYPE")]
        media_type: Option<String>,
        /// A JSON object: what nobody looks up
        #[arg(long, value_name = "JSON")]
        metadata: Option<String>,
        /// Only if the name is at this version; `absent`: only if there is none
        #[arg(long, value_name = "VERSION")]
        expect: Option<String>,
        #[command(flatten)]
        made_of: keeping::MadeOf,
    },
    /// Store every file of a folder, many at a time; names are PREFIX/path
    PutFolder {
        store: String,
        folder: PathBuf,
        #[arg(long, default_value = "")]
        prefix: String,
    },
    /// Send a file in parts that are durable one by one; after a cut --resume goes on
    Upload {
        store: String,
        name: String,
        file: PathBuf,
        /// Go on with this upload
        #[arg(long, value_name = "ID")]
        resume: Option<String>,
        #[arg(long, value_name = "TYPE/SUBTYPE")]
        media_type: Option<String>,
        #[command(flatten)]
        made_of: keeping::MadeOf,
    },
    /// Uploads that are not finished
    Uploads { store: String },
    /// Give an upload up
    Abandon { store: String, id: String },
    /// What is known of a version, and what it was made of
    Show {
        store: String,
        name: String,
        #[arg(long)]
        version: Option<u64>,
    },
    /// Versions that a skill made, or that were made from a measurement
    Find {
        store: String,
        #[arg(long, required_unless_present = "measurement")]
        skill: Option<String>,
        #[arg(long, requires = "skill")]
        skill_version: Option<String>,
        #[arg(long)]
        measurement: Option<String>,
        /// A time that the data of the version has: RFC 3339, a date, or nanoseconds since the epoch
        #[arg(long, requires = "measurement", value_name = "TIME")]
        at: Option<String>,
        #[arg(long, default_value_t = 1000)]
        limit: u64,
    },
    /// Let a label stand for a version: `files label models production momentum/2026-06-26/weights.bin`
    Label {
        store: String,
        label: String,
        name: String,
        /// The newest by default
        #[arg(long)]
        version: Option<u64>,
        /// Only if the label is at this revision; `absent`: only if there is none
        #[arg(long, value_name = "REVISION")]
        expect: Option<String>,
    },
    /// Take a label away
    Unlabel {
        store: String,
        label: String,
        #[arg(long, value_name = "REVISION")]
        expect: Option<String>,
    },
    /// The labels of a store, or all that one stood for
    Labels { store: String, label: Option<String> },
    /// Write a file's content to standard output, or to --output (replaced only when it came whole)
    Get {
        store: String,
        #[arg(required_unless_present = "label")]
        name: Option<String>,
        #[arg(long, requires = "name")]
        version: Option<u64>,
        /// The version that a label stands for
        #[arg(long, conflicts_with = "name")]
        label: Option<String>,
        #[arg(long, short)]
        output: Option<PathBuf>,
    },
    /// The versions of a name, newest first
    Versions { store: String, name: String },
    /// Say that a file is gone; older versions stay readable
    Delete {
        store: String,
        name: String,
        /// Remove every version; `files gc` frees their room
        #[arg(long)]
        purge: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Take the versions away that the rules of the store do not keep; the host does so every hour
    Prune {
        store: String,
        /// Only say which
        #[arg(long)]
        dry_run: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Remove objects that no version names, and chunks that no object is made of
    Gc { store: String },
    /// Re-hash every object of a store, or of all; what is damaged is set aside
    Verify {
        store: Option<String>,
        /// Bytes a second, so that others have the disk, too: 50MiB
        #[arg(long, value_name = "BYTES")]
        rate: Option<ByteSize>,
    },
}

pub(crate) async fn run(verb: Verb, client: &Client, out: &Output) -> Result<ExitCode, Failure> {
    let content =
        |store: &str, name: &str| format!("/v1/files/{}/content/{}", segment(store), segments(name));
    match verb {
        Verb::List { store: None, .. } => {
            let v = client.get("/v1/files").await?;
            out.list(
                &v,
                &[
                    ("store", "store"),
                    ("kind", "kind"),
                    ("versions", "versions"),
                    ("objects", "objects"),
                    ("bytes", "bytes"),
                    ("quota", "quota_bytes"),
                ],
                "this manifest has no file stores: add [files.NAME]",
            );
        }
        Verb::List { store: Some(store), prefix, after, limit } => {
            let query = [("prefix", Some(prefix)), ("after", after), ("limit", Some(limit.to_string()))];
            let v = client.get(&with_query(&format!("/v1/files/{}", segment(&store)), &query)).await?;
            out.list(
                &v,
                &[
                    ("name", "path"),
                    ("version", "version"),
                    ("bytes", "size"),
                    ("created", "created_at"),
                    ("by", "created_by"),
                    ("blake3", "blake3"),
                ],
                "no files there",
            );
        }
        Verb::Put { store, name, file, media_type, metadata, expect, made_of } => {
            let metadata = metadata.map(|m| super::skills::parse_json("--metadata", &m)).transpose()?;
            let mut builder = Request::builder()
                .method(Method::PUT)
                .uri(with_query(&content(&store, &name), &[("expect", expect)]))
                .header(header::HOST, "localhost");
            if let Some(p) = made_of.json()? {
                builder = builder.header("x-shiphold-provenance", keeping::ascii(&p));
            }
            if let Some(t) = media_type {
                builder = builder.header(header::CONTENT_TYPE, t);
            }
            if let Some(m) = metadata {
                builder = builder.header("x-shiphold-metadata", m.to_string());
            }
            let request = builder.body(file_body(&file).await?).map_err(|e| {
                Failure::usage(format!("`{name}` cannot be sent: {e}"), "write type/date/name")
            })?;
            let answer = client.send(request).await?;
            let v = super::client::body_json(answer).await?;
            let text = |k: &str| {
                v.get(k).map(|x| x.as_str().map_or_else(|| x.to_string(), str::to_string)).unwrap_or_default()
            };
            out.done(
                &v,
                format!(
                    "{store}/{name} version {} ({} bytes, blake3 {})",
                    text("version"),
                    text("size"),
                    text("blake3")
                ),
            );
        }
        Verb::Get { store, name, version, label, output } => {
            let path = match (label, name) {
                (Some(label), _) => {
                    format!("/v1/files/{}/labels/{}/content", segment(&store), segment(&label))
                }
                (None, name) => with_query(
                    &content(&store, &name.unwrap_or_default()),
                    &[("version", version.map(|v| v.to_string()))],
                ),
            };
            download(client, &path, output.as_deref()).await?
        }
        Verb::Versions { store, name } => {
            let v = client
                .get(&with_query(&format!("/v1/files/{}/versions", segment(&store)), &[("path", Some(name))]))
                .await?;
            out.list(
                &v,
                &[
                    ("version", "version"),
                    ("bytes", "size"),
                    ("created", "created_at"),
                    ("by", "created_by"),
                    ("blake3", "blake3"),
                ],
                "none",
            );
        }
        Verb::Delete { store, name, purge, yes } => {
            if purge {
                input::confirm(yes, &format!("remove every version of {store}/{name}"))?;
            }
            let path = with_query(&content(&store, &name), &[("purge", purge.then(|| "true".into()))]);
            let v = client.json(Method::DELETE, &path, None).await?;
            out.done(&v, format!("{store}/{name} is {}", if purge { "purged" } else { "deleted" }));
        }
        Verb::Gc { store } => {
            let v = client
                .work(&format!("/v1/files/{}/gc", segment(&store)), &json!({}), out, "collecting")
                .await?;
            out.done(
                &v,
                format!(
                    "{} objects removed, {} bytes",
                    v.get("removed").unwrap_or(&Value::Null),
                    v.get("bytes").unwrap_or(&Value::Null)
                ),
            );
        }
        Verb::Verify { store, rate } => {
            let body = rate.map_or_else(|| json!({}), |r| json!({ "bytes_per_second": r.0 }));
            let stores: Vec<String> = match store {
                Some(s) => vec![s],
                None => client
                    .get("/v1/files")
                    .await?
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(|s| Some(s.get("store")?.as_str()?.to_string()))
                    .collect(),
            };
            let mut all = Vec::new();
            let mut faults = 0;
            for store in stores {
                let v = client
                    .work(&format!("/v1/files/{}/verify", segment(&store)), &body, out, "hashing")
                    .await?;
                let found = v.get("faults").and_then(Value::as_array).cloned().unwrap_or_default();
                if !out.json {
                    out.line(format!(
                        "{store}: {} objects, {} bytes, {} faults, {} orphans",
                        v.get("objects").unwrap_or(&Value::Null),
                        v.get("bytes").unwrap_or(&Value::Null),
                        found.len(),
                        v.get("orphans").unwrap_or(&Value::Null)
                    ));
                    for f in &found {
                        let text = |k: &str| f.get(k).and_then(Value::as_str).unwrap_or_default();
                        out.line(format!(
                            "  {}: {} (needed by {})",
                            text("blake3"),
                            text("problem"),
                            f.get("files").unwrap_or(&Value::Null)
                        ));
                    }
                }
                faults += found.len();
                all.push(json!({ "store": store, "report": v }));
            }
            if out.json {
                out.json(&Value::Array(all));
            }
            if faults > 0 {
                return Ok(ExitCode::from(1));
            }
        }
        Verb::PutFolder { store, folder, prefix } => {
            uploads::put_folder(client, out, &store, &folder, &prefix).await?;
        }
        Verb::Upload { store, name, file, resume, media_type, made_of } => {
            uploads::upload(client, out, (&store, &name, &file), resume, media_type, &made_of).await?;
        }
        Verb::Uploads { store } => uploads::list(client, out, &store).await?,
        Verb::Abandon { store, id } => {
            let path = format!("/v1/files/{}/uploads/{}", segment(&store), segment(&id));
            let v = client.json(Method::DELETE, &path, None).await?;
            out.done(&v, format!("the upload {id} is given up"));
        }
        more => keeping::run(more, client, out).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes what a route gives to standard output, or into a file that is replaced only when it came whole.
pub(super) async fn download(client: &Client, path: &str, output: Option<&Path>) -> Result<(), Failure> {
    let answer = client.send(request(Method::GET, path, None, "*/*")?).await?;
    let mut stream = answer.into_body().into_data_stream();
    let Some(to) = output else {
        let mut stdout = tokio::io::stdout();
        while let Some(part) = stream.next().await {
            let part = part.map_err(|e| Failure::plain(format!("the content did not come whole: {e}")))?;
            stdout.write_all(&part).await.map_err(|e| Failure::plain(format!("standard output: {e}")))?;
        }
        return stdout.flush().await.map_err(|e| Failure::plain(format!("standard output: {e}")));
    };
    let mut partial = to.as_os_str().to_os_string();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let wrong = |e: std::io::Error| Failure::plain(format!("{}: {e}", to.display()));
    let mut file = tokio::fs::File::create(&partial).await.map_err(wrong)?;
    let copied = async {
        while let Some(part) = stream.next().await {
            let part = part.map_err(|e| Failure::plain(format!("the content did not come whole: {e}")))?;
            file.write_all(&part).await.map_err(wrong)?;
        }
        file.sync_all().await.map_err(wrong)
    }
    .await;
    if copied.is_err() {
        let _ = tokio::fs::remove_file(&partial).await;
        return copied;
    }
    tokio::fs::rename(&partial, to).await.map_err(wrong)
}
