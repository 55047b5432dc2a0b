//! `shiphold audit …`

use super::client::{Client, request, with_query};
use super::output::{Failure, Output};
use axum::http::Method;
use clap::{Args, Subcommand, ValueEnum};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use shiphold_storage::Manifest;
use shiphold_storage::audit::{
    Checkpoint, DOCUMENT_BYTES_MAX, Signed, SigningKey, VerifyingKey, verify_export,
};
use shiphold_storage::hex;
use shiphold_storage::layer::write_pair;
use std::io::{BufReader, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tokio::io::AsyncWriteExt as _;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Entries, newest first
    List {
        /// operator, token:NAME or plugin:NAME
        #[arg(long)]
        actor: Option<String>,
        /// An action or its beginning: skills.
        #[arg(long)]
        action: Option<String>,
        /// An object or its beginning: skill:pullback
        #[arg(long)]
        object: Option<String>,
        /// What one request did: the id that its answer had in X-Request-Id
        #[arg(long)]
        request: Option<String>,
        /// Only entries before this number: the next page
        #[arg(long, value_name = "SEQ")]
        before: Option<i64>,
        #[arg(long, default_value_t = 50)]
        limit: u64,
    },
    /// Walk the hash chain; names the first broken link
    Verify(Verify),
    /// Every entry in order, as JSON Lines or CSV
    Export {
        #[arg(long, value_enum, default_value_t = Form::Jsonl)]
        format: Form,
        /// Only entries with a larger number
        #[arg(long, value_name = "SEQ", default_value_t = 0)]
        after: i64,
        /// A file; standard output by default
        #[arg(long)]
        to: Option<PathBuf>,
    },
    /// Make a key that signs checkpoints; keep it outside of the data folder
    Keygen {
        /// Where the private key goes; must not exist
        file: PathBuf,
    },
    /// Sign the end of the trail, so that a cut or rewritten trail shows
    Checkpoint {
        /// Where it goes, with its signature beside it as FILE.sig
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
    },
    /// The checkpoints that were signed here, newest first
    Checkpoints,
    /// The sealed parts of the trail
    Segments,
    /// Make a segment of what is in the open one
    Seal,
    /// Move sealed segments into a file store, each with a signed checkpoint
    Archive {
        #[arg(long)]
        store: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// A checkpoint that was kept elsewhere, its signature beside it as FILE.sig; the trail must agree with it
    #[arg(long = "checkpoint", value_name = "FILE")]
    checkpoints: Vec<PathBuf>,
    /// Read archived segments too
    #[arg(long)]
    archives: bool,
    /// Walk an export in JSON Lines instead of the host's trail; needs no host
    #[arg(long, value_name = "FILE", conflicts_with = "archives")]
    file: Option<PathBuf>,
    /// The public key that signed the checkpoints; default: `audit.verify_key` of the manifest
    #[arg(long, value_name = "HEX", requires = "file")]
    key: Option<VerifyingKey>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    Jsonl,
    Csv,
}

fn wrong(path: &Path) -> impl Fn(std::io::Error) -> Failure + '_ {
    move |e| Failure::plain(format!("{}: {e}", path.display()))
}

/// What works on files alone; `None`: it needs the host's trail.
pub(crate) fn run_without_host(
    verb: &Verb,
    manifest: &Manifest,
    out: &Output,
) -> Result<Option<ExitCode>, Failure> {
    match verb {
        Verb::Keygen { file } => keygen(file, &manifest.host.data, out).map(|()| Some(ExitCode::SUCCESS)),
        Verb::Verify(v) => match &v.file {
            None => Ok(None),
            Some(file) => {
                let key = v.key.or(manifest.audit.verify_key);
                let mut checkpoints: Vec<Checkpoint> = Vec::new();
                for path in &v.checkpoints {
                    let key = key.as_ref().ok_or_else(|| {
                        Failure::usage("a checkpoint needs the key that signed it", "give it with --key HEX")
                    })?;
                    checkpoints.push(read_pair(path)?.check(key)?);
                }
                let lines = BufReader::new(std::fs::File::open(file).map_err(wrong(file))?);
                let proof = json!(verify_export(lines, checkpoints)?);
                Ok(Some(told(&proof, out)))
            }
        },
        _ => Ok(None),
    }
}

pub(crate) async fn run(verb: Verb, client: &Client, out: &Output) -> Result<ExitCode, Failure> {
    match verb {
        Verb::List { actor, action, object, request, before, limit } => {
            let query = [
                ("actor", actor),
                ("action", action),
                ("object", object),
                ("request", request),
                ("before_seq", before.map(|b| b.to_string())),
                ("limit", Some(limit.to_string())),
            ];
            let v = client.get(&with_query("/v1/audit", &query)).await?;
            let columns = [
                ("seq", "seq"),
                ("time", "time"),
                ("actor", "actor"),
                ("action", "action"),
                ("object", "object"),
                ("request", "request"),
                ("detail", "detail"),
            ];
            out.list(&v, &columns, "nothing was recorded yet");
        }
        Verb::Verify(v) => {
            let checkpoints = v.checkpoints.iter().map(|p| read_pair(p)).collect::<Result<Vec<_>, _>>()?;
            let asked = json!({ "checkpoints": checkpoints, "archives": v.archives });
            let proof = client.post("/v1/audit/verify", &asked).await?;
            return Ok(told(&proof, out));
        }
        Verb::Export { format, after, to } => export(format, after, to.as_deref(), client, out).await?,
        Verb::Checkpoint { to } => {
            let v = client.post("/v1/audit/checkpoint", &json!({})).await?;
            let signed: Signed = serde_json::from_value(v.clone())
                .map_err(|e| Failure::plain(format!("the host answered what is no checkpoint: {e}")))?;
            match to {
                Some(file) => {
                    write_pair(&file, &signed)?;
                    let said =
                        format!("{} and {}.sig written; keep them elsewhere", file.display(), file.display());
                    out.done(&v, said);
                }
                None => out.done(&v, format!("{}\n{}", signed.document, signed.signature)),
            }
        }
        Verb::Checkpoints => {
            let v = client.get("/v1/audit/checkpoints").await?;
            out.list(&v, &[("document", "document"), ("signature", "signature")], "none was signed yet");
        }
        Verb::Segments => {
            let v = client.get("/v1/audit/segments").await?;
            let columns = [
                ("id", "id"),
                ("first", "first_seq"),
                ("last", "last_seq"),
                ("sealed", "sealed_at"),
                ("store", "archive.store"),
                ("file", "archive.path"),
            ];
            out.list(&v, &columns, "none is sealed yet: all entries are in the open one");
        }
        Verb::Seal => {
            let v = client.post("/v1/audit/seal", &json!({})).await?;
            let n = |key: &str| v.get(key).and_then(Value::as_i64).unwrap_or_default();
            out.done(
                &v,
                format!("segment {} holds entries {} to {}", n("id"), n("first_seq"), n("last_seq")),
            );
        }
        Verb::Archive { store } => {
            let v = client.post("/v1/audit/archive", &json!({ "store": store })).await?;
            let moved = v.as_array().map_or(0, Vec::len);
            out.done(&v, format!("{moved} segments moved to `{store}`"));
        }
        // Done without a host.
        Verb::Keygen { .. } => {}
    }
    Ok(ExitCode::SUCCESS)
}

fn told(proof: &Value, out: &Output) -> ExitCode {
    let n = |key: &str| proof.get(key).and_then(Value::as_u64).unwrap_or_default();
    let text = |v: &Value, k: &str| {
        v.get(k).map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_string)).unwrap_or_default()
    };
    if let Some(broken) = proof.get("broken").filter(|b| !b.is_null()) {
        out.done(
            proof,
            format!("the chain is BROKEN at entry {}: {}", text(broken, "seq"), text(broken, "problem")),
        );
        return ExitCode::from(1);
    }
    let mut said = format!("{} entries, the chain holds; its head is {}", n("entries"), text(proof, "head"));
    if n("checkpoints") > 0 {
        said.push_str(&format!("; it agrees with {} signed checkpoints", n("checkpoints")));
    }
    if n("archived") > 0 {
        said.push_str(&format!("; {} archived entries were not read (--archives reads them)", n("archived")));
    }
    out.done(proof, said);
    ExitCode::SUCCESS
}

async fn export(
    form: Form,
    after: i64,
    to: Option<&Path>,
    client: &Client,
    out: &Output,
) -> Result<(), Failure> {
    let format = match form {
        Form::Jsonl => "jsonl",
        Form::Csv => "csv",
    };
    let path = with_query(
        "/v1/audit/export",
        &[("format", Some(format.into())), ("after", Some(after.to_string()))],
    );
    let mut parts =
        client.send(request(Method::GET, &path, None, "*/*")?).await?.into_body().into_data_stream();
    let mut file: Box<dyn tokio::io::AsyncWrite + Unpin> = match to {
        Some(path) => Box::new(tokio::fs::File::create(path).await.map_err(wrong(path))?),
        None => Box::new(tokio::io::stdout()),
    };
    let place = to.unwrap_or(Path::new("standard output"));
    let mut bytes = 0_u64;
    while let Some(part) = parts.next().await {
        let part = part.map_err(|e| Failure::plain(format!("the host ended the export: {e}")))?;
        bytes += part.len() as u64;
        match file.write_all(&part).await {
            Ok(()) => {}
            // `| head` has enough.
            Err(e) if to.is_none() && e.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
            Err(e) => return Err(wrong(place)(e)),
        }
    }
    file.flush().await.map_err(wrong(place))?;
    if let Some(path) = to {
        out.done(
            &json!({ "file": path, "bytes": bytes }),
            format!("{bytes} bytes written to {}", path.display()),
        );
    }
    Ok(())
}

fn keygen(file: &Path, data: &Path, out: &Output) -> Result<(), Failure> {
    let place = std::path::absolute(file).map_err(wrong(file))?;
    if place.starts_with(data) {
        return Err(Failure::usage(
            format!("{} is inside the data folder", file.display()),
            "who can change the trail could sign it too: keep the key elsewhere",
        ));
    }
    let (key, text) = SigningKey::generate()?;
    let mut handle =
        std::fs::File::options().write(true).create_new(true).mode(0o600).open(file).map_err(wrong(file))?;
    handle.write_all(text.as_bytes()).and_then(|()| handle.sync_all()).map_err(wrong(file))?;
    let public = key.verifying();
    let said = format!(
        "{} written; readable for you only\n\n[secrets.audit-key]\nfile = {:?}\n\n[audit]\nsigning_key = \"audit-key\"\nverify_key = \"{public}\"",
        file.display(),
        place.display().to_string()
    );
    out.done(&json!({ "file": file, "verify_key": public, "verify_pem": public.to_pem() }), said);
    Ok(())
}

/// A checkpoint from its two files.
fn read_pair(path: &Path) -> Result<Signed, Failure> {
    let read = |path: &Path| -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        let file = std::fs::File::open(path).map_err(wrong(path))?;
        file.take(DOCUMENT_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(wrong(path))?;
        if bytes.len() > DOCUMENT_BYTES_MAX {
            return Err(Failure::plain(format!(
                "{} has more than {DOCUMENT_BYTES_MAX} bytes",
                path.display()
            )));
        }
        Ok(bytes)
    };
    let document = String::from_utf8(read(path)?)
        .map_err(|_| Failure::plain(format!("{} is no checkpoint: it is not UTF-8", path.display())))?;
    let mut beside = path.as_os_str().to_os_string();
    beside.push(".sig");
    let signature = hex::encode(read(Path::new(&beside))?);
    Ok(Signed { document, signature })
}
