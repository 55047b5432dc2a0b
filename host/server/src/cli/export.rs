//! `shiphold series export`: a file, or a folder with a file per measurement that goes on where it was cut off.

use super::client::{Client, request, segment, with_query};
use super::output::{Failure, Output};
use super::series::{condition, when};
use axum::http::Method;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What a folder holds: a run with other options would make a mixture of two exports.
const MANIFEST: &str = "export.json";
/// Bytes of a file's name, with its ending: what file systems take.
const NAME_BYTES_MAX: usize = 240;

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// A measurement; `*` stands for any run of characters: 'bar.1m.*'
    pattern: String,
    /// FILE.parquet or FILE.csv; or a folder, which gets a file per measurement
    #[arg(long)]
    to: PathBuf,
    /// Of the files of a folder; a file's own ending says it
    #[arg(long)]
    format: Option<Form>,
    #[arg(long)]
    bucket: Option<String>,
    /// A tag that must be equal
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = super::input::pair)]
    tags: Vec<(String, String)>,
    /// What another tag must hold: KEY=A,B (one of them), KEY!=A, KEY=~REGEX, KEY!~REGEX
    #[arg(long = "where", id = "where", value_name = "CONDITION", value_parser = condition)]
    conditions: Vec<Value>,
    /// All by default
    #[arg(long, value_delimiter = ',')]
    fields: Vec<String>,
    /// RFC 3339, a date, or nanoseconds since the epoch; it is in the range
    #[arg(long)]
    start: Option<String>,
    /// As --start; it is not in the range
    #[arg(long)]
    end: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    Parquet,
    Csv,
}

impl Form {
    const fn name(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Csv => "csv",
        }
    }

    /// By the ending of a file's name.
    fn of(path: &Path) -> Option<Self> {
        let ending = path.extension()?;
        [Self::Parquet, Self::Csv].into_iter().find(|f| ending.eq_ignore_ascii_case(f.name()))
    }
}

fn wrong(path: &Path) -> impl Fn(std::io::Error) -> Failure + '_ {
    move |e| Failure::plain(format!("{}: {e}", path.display()))
}

impl Export {
    fn body(&self, measurement: &str) -> Value {
        json!({
            "bucket": self.bucket, "measurement": measurement, "tags": self.tags, "where": self.conditions,
            "fields": if self.fields.is_empty() { Value::Null } else { json!(self.fields) },
            "start": when(self.start.as_ref()), "end": when(self.end.as_ref()),
        })
    }
}

pub(super) async fn run(export: &Export, client: &Client, out: &Output) -> Result<(), Failure> {
    if !export.to.is_dir() {
        if let Some(form) = Form::of(&export.to) {
            if export.format.is_some_and(|f| f != form) {
                return Err(Failure::usage(
                    format!(
                        "{} does not end in .{}",
                        export.to.display(),
                        export.format.map_or("", Form::name)
                    ),
                    "leave --format out",
                ));
            }
            let bytes = one(export, &export.pattern, form, &export.to, client, out).await?;
            let said = format!("{bytes} bytes written to {}", export.to.display());
            out.done(&json!({ "file": export.to, "bytes": bytes }), said);
            return Ok(());
        }
    }
    folder(export, client, out).await
}

async fn one(
    export: &Export,
    measurement: &str,
    form: Form,
    to: &Path,
    client: &Client,
    out: &Output,
) -> Result<u64, Failure> {
    let path = with_query("/v1/series/export", &[("format", Some(form.name().into()))]);
    let asked = request(Method::POST, &path, Some(&export.body(measurement)), "*/*")?;
    let bar = out.progress(&format!("exporting {measurement}"));
    client.download(asked, to, &bar).await
}

/// A file per measurement; those that are there are whole, and are left.
async fn folder(export: &Export, client: &Client, out: &Output) -> Result<(), Failure> {
    let form = export.format.unwrap_or(Form::Parquet);
    tokio::fs::create_dir_all(&export.to).await.map_err(wrong(&export.to))?;
    let asked = json!({ "format": form.name(), "export": export.body(&export.pattern) });
    let manifest = export.to.join(MANIFEST);
    match tokio::fs::read(&manifest).await {
        Ok(there) if serde_json::from_slice::<Value>(&there).is_ok_and(|v| v == asked) => {}
        Ok(_) => {
            return Err(Failure::usage(
                format!("{} holds an export with other options", export.to.display()),
                format!("name another folder; {} says what is in this one", manifest.display()),
            ));
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let partial = export.to.join(format!("{MANIFEST}.partial"));
            tokio::fs::write(&partial, asked.to_string()).await.map_err(wrong(&partial))?;
            tokio::fs::rename(&partial, &manifest).await.map_err(wrong(&manifest))?;
        }
        Err(e) => return Err(wrong(&manifest)(e)),
    }
    let selector = json!({ "bucket": export.bucket, "measurement": export.pattern, "tags": export.tags });
    let listed = client.post("/v1/series/list", &selector).await?;
    let names: BTreeSet<&str> = listed
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|s| s.get("key")?.get("measurement")?.as_str())
        .collect();
    let (mut files, mut skipped, mut bytes) = (0_u64, 0_u64, 0_u64);
    for name in names {
        let file = file_name(name, form)?;
        let to = export.to.join(file);
        if to.exists() {
            skipped += 1;
            continue;
        }
        bytes += one(export, name, form, &to, client, out).await?;
        files += 1;
    }
    let said =
        format!("{files} files, {bytes} bytes written to {}; {skipped} were there", export.to.display());
    out.done(&json!({ "folder": export.to, "files": files, "bytes": bytes, "skipped": skipped }), said);
    Ok(())
}

fn file_name(measurement: &str, form: Form) -> Result<String, Failure> {
    let name = format!("{}.{}", segment(measurement), form.name());
    if name.len() > NAME_BYTES_MAX {
        return Err(Failure::usage(
            format!("`{measurement}` is too long for the name of a file"),
            "export it by itself, with --to FILE",
        ));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_named_by_its_measurement_and_stays_in_its_folder() {
        assert_eq!(file_name("bar.1m.BRK B", Form::Csv).unwrap(), "bar.1m.BRK%20B.csv");
        assert_eq!(file_name("../x/y", Form::Parquet).unwrap(), "..%2Fx%2Fy.parquet");
        let longest = "a".repeat(NAME_BYTES_MAX - ".csv".len());
        assert!(file_name(&longest, Form::Csv).is_ok());
        assert!(file_name(&format!("{longest}a"), Form::Csv).is_err());
    }

    #[test]
    fn the_ending_says_the_form() {
        assert_eq!(Form::of(Path::new("a/b.PARQUET")), Some(Form::Parquet));
        assert_eq!(Form::of(Path::new("b.csv")), Some(Form::Csv));
        assert_eq!(Form::of(Path::new("b")), None);
    }
}
