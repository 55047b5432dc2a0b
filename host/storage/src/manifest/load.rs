//! Reads and checks the manifest; collects every problem with its line.

use super::limits::read_host_plugin_limits;
use super::plugin::read_plugin;
use super::reader::{Findings, Section};
use super::trust::read_trust;
use super::*;
use crate::error::{Error, Kind, Result};
use crate::sqlite::VALUES_BYTES_MAX;
use std::fmt;
use std::path::{Component, Path};

/// The largest manifest that is read.
pub const MANIFEST_BYTES_MAX: u64 = 1 << 20;

/// One thing wrong with a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// 1-based line.
    pub line: usize,
    /// The key, dotted: `series.engine`.
    pub key: String,
    pub message: String,
}

/// Everything wrong with a manifest, in order of line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problems {
    pub path: PathBuf,
    pub problems: Vec<Problem>,
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, p) in self.problems.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{}:{}: {}: {}", self.path.display(), p.line, p.key, p.message)?;
        }
        Ok(())
    }
}

impl From<Problems> for Error {
    fn from(problems: Problems) -> Self {
        let count = problems.problems.len();
        Error::invalid(format!("{problems}")).hint(format!(
            "{count} problem{} in the manifest; docs/manifest.md describes every key",
            if count == 1 { "" } else { "s" }
        ))
    }
}

const SAFETY_KINDS: [&str; 6] = ["tick", "bar", "book", "signal", "metric", "other"];
const DAY: Span = Span::from_secs(86_400);
/// InfluxDB's own least retention of a bucket.
const RETENTION_MIN: Span = Span::from_secs(3_600);
/// The longest retention whose seconds every client of InfluxDB can hold: 24,000 days.
const RETENTION_MAX: Span = Span::from_secs(24_000 * 86_400);
pub(super) const NEVER: Span = Span::from_secs(100 * 365 * 86_400);
pub(super) const SIZE_MAX: ByteSize = ByteSize(1 << 50);

impl Manifest {
    /// Reads the manifest at `path`. Relative paths in it start from its folder.
    pub fn load(path: &Path) -> Result<Self> {
        let text = Self::read(path)?;
        let absolute = std::path::absolute(path).map_err(|e| Error::io(path.display(), e))?;
        Self::parse(&text, &absolute).map_err(Error::from)
    }

    /// The text of the manifest at `path`, at most [`MANIFEST_BYTES_MAX`] of it.
    pub fn read(path: &Path) -> Result<String> {
        let size = std::fs::metadata(path)
            .map_err(|e| {
                Error::io(format!("manifest {}", path.display()), e).hint(
                    "name it with `--manifest PATH`; examples/trader/shiphold.toml is one to start from",
                )
            })?
            .len();
        if size > MANIFEST_BYTES_MAX {
            return Err(Error::new(
                Kind::Limit,
                format!("the manifest {} has {size} bytes, more than {MANIFEST_BYTES_MAX}", path.display()),
            ));
        }
        let bytes = std::fs::read(path).map_err(|e| Error::io(format!("manifest {}", path.display()), e))?;
        String::from_utf8(bytes).map_err(|e| {
            Error::invalid(format!(
                "the manifest {} is not UTF-8 (byte {})",
                path.display(),
                e.utf8_error().valid_up_to()
            ))
        })
    }

    /// The line of a dotted key in a manifest's text: of its nearest part that stands there, 1 at worst.
    pub fn line_of(text: &str, key: &str) -> usize {
        let (document, _) = toml::de::DeTable::parse_recoverable(text);
        let mut table = Some(document.get_ref());
        let mut at = 0;
        for part in key.split('.') {
            let Some((name, value)) =
                table.and_then(|t| t.iter().find(|(k, _)| k.get_ref().as_ref() == part))
            else {
                break;
            };
            at = name.span().start;
            table = match value.get_ref() {
                toml::de::DeValue::Table(t) => Some(t),
                _ => None,
            };
        }
        1 + text.bytes().take(at).filter(|b| *b == b'\n').count()
    }

    /// Checks the text of a manifest that stands (or would stand) at the absolute `path`.
    pub fn parse(text: &str, path: &Path) -> Result<Self, Problems> {
        let findings = Findings::new(text);
        let (document, errors) = toml::de::DeTable::parse_recoverable(text);
        for e in &errors {
            findings.add(e.span(), "toml", e.message());
        }
        let manifest = if errors.is_empty() { Some(read(&findings, document.get_ref(), path)) } else { None };
        let problems = findings.into_problems();
        match manifest {
            Some(manifest) if problems.is_empty() => Ok(manifest),
            _ => Err(Problems { path: path.to_path_buf(), problems }),
        }
    }
}

fn read<'d>(findings: &Findings<'_>, document: &'d toml::de::DeTable<'d>, path: &Path) -> Manifest {
    let base = path.parent().unwrap_or(Path::new("/")).to_path_buf();
    let root = Section::root(findings, document);
    let host = read_host(&root.section("host"), &base);
    let files = super::files::read_files(&root, &base, &host.data);
    let secrets = read_secrets(&root, &base);
    let series = read_series(&root.section("series"), &secrets);
    let trust = read_trust(&root.section("trust"));
    let audit = super::audit::read_audit(&root.section("audit"), &base, &host.data, &secrets);
    let state = super::state::read_state(&root.section("state"), &files);
    let logs = super::files::read_logs(&root.section("logs"), &files);
    let limits = read_limits(&root.section("limits"));
    let plugins = root
        .named("plugins")
        .into_iter()
        .map(|(name, s)| {
            (name.clone(), read_plugin(&s, name, &base, &files, &secrets, &trust, &limits.plugins))
        })
        .collect();
    let plugins: BTreeMap<String, Plugin> = plugins;
    let backups = super::backup::read_backups(&root, &plugins, &secrets);
    let rollups = super::rollups::read_rollups(&root, &series.bucket);
    super::decimals::check_rollups(&root, &series.decimals, &rollups);
    let manifest = Manifest {
        path: path.to_path_buf(),
        rollups,
        http: read_http(&root.section("http")),
        disk: read_disk(&root.section("disk")),
        limits,
        safety: read_safety(&root.section("safety")),
        host,
        series,
        files,
        secrets,
        trust,
        backups,
        plugins,
        calendars: super::calendars::read_calendars(&root),
        audit,
        state,
        logs,
    };
    root.finish();
    manifest
}

fn read_host(s: &Section<'_, '_>, base: &Path) -> Host {
    let name = s.text("name").unwrap_or_else(|| "shiphold".into());
    if !is_name(&name) {
        s.problem("name", NAME_RULE);
    }
    let data = place(base, s.text("data").as_deref().unwrap_or("data"));
    if data.parent().is_none() {
        s.problem("data", "the data folder cannot be the root of the file system");
    }
    if data.exists() && !data.is_dir() {
        s.problem("data", format!("{} exists and is not a folder", data.display()));
    }
    let watch = s.flag("watch", true);
    s.finish();
    Host { name, data, watch }
}

fn read_http(s: &Section<'_, '_>) -> Http {
    let default = SocketAddr::from(([127, 0, 0, 1], 8087));
    let listen = match s.text("listen") {
        None => default,
        Some(text) => match text.parse::<SocketAddr>() {
            Ok(a) if a.ip().is_loopback() => a,
            Ok(a) => {
                s.problem(
                    "listen",
                    format!("{a} is not a loopback address; this host speaks plain HTTP, so put a TLS proxy in front of 127.0.0.1"),
                );
                default
            }
            Err(_) => {
                s.problem(
                    "listen",
                    format!("`{text}` is not an address and port, such as \"127.0.0.1:8087\""),
                );
                default
            }
        },
    };
    let http = Http {
        enabled: s.flag("enabled", true),
        listen,
        allowed_hosts: s.texts("allowed_hosts"),
        allowed_origins: s.texts("allowed_origins"),
        body_max: s.size("body_max", ByteSize::mib(64), ByteSize::kib(1)..=ByteSize::gib(4)),
        requests_max: to_u32(s.number("requests_max", 64, 1..=10_000)),
    };
    for origin in &http.allowed_origins {
        if !(origin.starts_with("http://") || origin.starts_with("https://")) || origin.ends_with('/') {
            s.problem(
                "allowed_origins",
                format!("`{origin}` is not an origin, such as \"https://desk.example\" (no path)"),
            );
        }
    }
    s.finish();
    http
}

fn read_series(s: &Section<'_, '_>, secrets: &BTreeMap<String, SecretSource>) -> Series {
    let engine = s.choice(
        "engine",
        EngineKind::Embedded,
        &[("embedded", EngineKind::Embedded), ("influxdb2", EngineKind::Influxdb2)],
    );
    let bucket = s.text("bucket").unwrap_or_else(|| "market".into());
    if !is_name(&bucket) {
        s.problem("bucket", NAME_RULE);
    }
    let e = s.section("embedded");
    let memory_max = e.size("memory_max", ByteSize::mib(256), ByteSize::mib(16)..=ByteSize::gib(64));
    let embedded = Embedded {
        memory_max,
        head_max: e.size("head_max", ByteSize(memory_max.0 / 4), ByteSize::mib(1)..=ByteSize::gib(16)),
        chunk_rows: to_u32(e.number("chunk_rows", 65_536, 1_024..=1_048_576)),
        seal_after: e.time("seal_after", Span::from_secs(300), Span::from_millis(100)..=DAY),
        compact_every: e.time("compact_every", Span::from_secs(600), Span::default()..=DAY),
        cache_max: e.size("cache_max", ByteSize(memory_max.0 / 8), ByteSize(0)..=ByteSize::gib(16)),
    };
    // Else writers would wait before anything is sealed; and what is decoded has a half.
    let parts =
        [("head_max", embedded.head_max, 4, "a quarter"), ("cache_max", embedded.cache_max, 2, "half")];
    for (key, part, of, name) in parts {
        let most = ByteSize(memory_max.0 / of);
        if part > most {
            e.problem(key, format!("is more than {most}, {name} of `memory_max`; raise that or lower this"));
        }
    }
    e.finish();
    let i = s.section("influxdb2");
    let influxdb2 = match engine {
        EngineKind::Embedded => {
            if i.is_present() {
                s.problem("influxdb2", "is set, but `series.engine` is \"embedded\"; remove one of the two");
            }
            None
        }
        EngineKind::Influxdb2 => {
            let token = i.required("token", "\"NAME\" of an entry of [secrets]").unwrap_or_default();
            if !token.is_empty() && !secrets.contains_key(&token) {
                i.problem("token", format!("names the secret `{token}`, but there is no [secrets.{token}]"));
            }
            let url = i.required("url", "\"http://127.0.0.1:8086\"").unwrap_or_default();
            if let (false, Err(why)) = (url.is_empty(), crate::series::influx::address(&url)) {
                i.problem("url", format!("`{url}` {why}; write it as \"http://127.0.0.1:8086\""));
            }
            let org = i.required("org", "\"trader\"");
            if org.as_deref() == Some("") {
                i.problem("org", "is empty; name the organisation, such as \"trader\"");
            }
            let r = i.section("retention");
            let of = |name: String| {
                let span = r.time(&name, RETENTION_MAX, RETENTION_MIN..=RETENTION_MAX);
                if span.0.subsec_nanos() > 0 {
                    r.problem(&name, format!("`{span}`: InfluxDB counts whole seconds"));
                }
                if let Err(e) = crate::series::store::check_bucket(&name) {
                    r.problem(&name, e.to_string());
                }
                (name, span)
            };
            let retention = r.keys().into_iter().map(of).collect();
            r.finish();
            Some(Influxdb2 {
                retention,
                url,
                org: org.unwrap_or_default(),
                token,
                timeout: i.time(
                    "timeout",
                    Span::from_secs(10),
                    Span::from_millis(100)..=Span::from_secs(600),
                ),
                create_buckets: i.flag("create_buckets", true),
                outbox_max: i.size("outbox_max", ByteSize::gib(4), ByteSize::mib(1)..=ByteSize::gib(1_024)),
                batch_wait: i.time(
                    "batch_wait",
                    Span::from_millis(50),
                    Span::default()..=Span::from_secs(10),
                ),
            })
        }
    };
    if influxdb2.is_some() {
        i.finish();
    }
    let revisions = super::revisions::read_revisions(s, &bucket);
    let decimals = super::decimals::read_decimals(s, &bucket);
    s.finish();
    Series { engine, bucket, embedded, influxdb2, revisions, decimals }
}

fn read_disk(s: &Section<'_, '_>) -> Disk {
    let disk = Disk {
        warn_below: s.size("warn_below", ByteSize::gib(2), ByteSize(0)..=SIZE_MAX),
        read_only_below: s.size("read_only_below", ByteSize::mib(512), ByteSize(0)..=SIZE_MAX),
        reserve: s.size("reserve", ByteSize::mib(64), ByteSize(0)..=ByteSize::gib(64)),
    };
    if disk.warn_below < disk.read_only_below {
        s.problem(
            "warn_below",
            format!(
                "{} is less than read_only_below ({}): the warning would come too late",
                disk.warn_below, disk.read_only_below
            ),
        );
    }
    s.finish();
    disk
}

fn read_limits(s: &Section<'_, '_>) -> Limits {
    let limits = Limits {
        query_time: s.time("query_time", Span::from_secs(30), Span::from_millis(1)..=Span::from_secs(3_600)),
        query_rows: s.number("query_rows", 5_000_000, 1..=1_000_000_000),
        write_rows: s.number("write_rows", 1_000_000, 1..=10_000_000),
        import_file: s.size("import_file", ByteSize::gib(4), ByteSize(1)..=SIZE_MAX),
        series_max: s.number("series_max", 1_000_000, 1..=100_000_000),
        readers: to_u32(s.number("readers", 4, 1..=64)),
        cache_max: s.size("cache_max", ByteSize(VALUES_BYTES_MAX), ByteSize(0)..=ByteSize::gib(16)),
        plugins: read_host_plugin_limits(&s.section("plugins")),
    };
    s.finish();
    limits
}

fn read_safety(s: &Section<'_, '_>) -> Safety {
    let max_drop_share_percent = match s.text("max_drop_share") {
        None => 20,
        Some(text) => match text.strip_suffix('%').map(|n| n.trim_end().parse::<u32>()) {
            Some(Ok(n)) if (1..=100).contains(&n) => n,
            _ => {
                s.problem(
                    "max_drop_share",
                    format!("`{text}` is not a share from 1 % to 100 %, such as \"20 %\""),
                );
                20
            }
        },
    };
    let k = s.section("keep_at_least");
    let keep_at_least = SAFETY_KINDS
        .iter()
        .map(|kind| ((*kind).to_string(), k.time(kind, DAY, Span::default()..=NEVER)))
        .collect();
    k.finish();
    s.finish();
    Safety { max_drop_share_percent, keep_at_least }
}

fn read_secrets(root: &Section<'_, '_>, base: &Path) -> BTreeMap<String, SecretSource> {
    let mut out = BTreeMap::new();
    for (name, s) in root.named("secrets") {
        let source = match (s.text("env"), s.text("file")) {
            (Some(env), None) => SecretSource::Env(env),
            (None, Some(file)) => {
                let file = place(base, &file);
                if !file.is_file() {
                    s.problem("file", format!("{} does not exist", file.display()));
                }
                SecretSource::File(file)
            }
            _ => {
                s.problem("", "needs exactly one of `env = \"VARIABLE\"` and `file = \"PATH\"`");
                SecretSource::Env(String::new())
            }
        };
        s.finish();
        out.insert(name, source);
    }
    out
}

pub(super) fn to_u32(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

pub(super) const NAME_RULE: &str =
    "a name has 1 to 64 of the characters a-z, 0-9, `-` and `_`, and starts with a letter or digit";

pub(super) fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
}

/// An absolute path without `.` and `..`; where part of it exists, symlinks are followed, so that two roads
/// to one folder compare equal.
pub(super) fn place(base: &Path, text: &str) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in base.join(text).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                clean.pop();
            }
            other => clean.push(other),
        }
    }
    let mut rest = Vec::new();
    let mut here = clean.clone();
    loop {
        if let Ok(real) = here.canonicalize() {
            return rest.iter().rev().fold(real, |p, part| p.join(part));
        }
        match (here.file_name().map(ToOwned::to_owned), here.pop()) {
            (Some(name), true) => rest.push(name),
            _ => return clean,
        }
    }
}

pub(super) fn overlaps(a: &Path, b: &Path) -> bool {
    a.starts_with(b) || b.starts_with(a)
}
