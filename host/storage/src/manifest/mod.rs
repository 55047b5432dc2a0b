//! `shiphold.toml`: what the operator decides. [`Manifest::load`] reads it and reports every problem at once,
//! with line numbers; what comes out has been checked.

use crate::caller::Grants;
use crate::units::{ByteSize, Span};
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

mod audit;
mod backup;
mod calendars;
mod decimals;
mod files;
mod limits;
mod load;
mod plugin;
mod reader;
mod revisions;
mod rollups;
mod state;
#[cfg(test)]
mod tests;
mod trust;

pub use limits::{HostPluginLimits, PluginLimits};
pub use load::{Problem, Problems};

/// A checked manifest. Paths are absolute. `docs/manifest.md` documents every key.
#[derive(Debug, Clone, Serialize)]
pub struct Manifest {
    /// Where it was read from.
    pub path: PathBuf,
    pub host: Host,
    pub http: Http,
    pub series: Series,
    pub disk: Disk,
    pub limits: Limits,
    pub safety: Safety,
    /// File stores by name.
    pub files: BTreeMap<String, FileStore>,
    /// Secrets by name: where they come from, never their value.
    pub secrets: BTreeMap<String, SecretSource>,
    pub trust: Trust,
    pub plugins: BTreeMap<String, Plugin>,
    /// `[backup.NAME]`: repositories on backup targets.
    pub backups: BTreeMap<String, Offsite>,
    /// `[rollups.NAME]`, by name.
    pub rollups: Vec<crate::rollups::Definition>,
    /// `[calendars.NAME]`: trading sessions that queries name.
    pub calendars: BTreeMap<String, crate::series::kinds::Session>,
    pub audit: Audit,
    pub state: State,
    pub logs: Logs,
}

/// `[state]`: checkpoints of strategies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct State {
    /// `store`: the entry of `[files]` that keeps large ones; none are taken without it.
    pub store: Option<String>,
    /// `keep` (default 100): revisions of each strategy that stay.
    pub keep: u64,
}

/// `[audit]`
#[derive(Debug, Clone, Serialize)]
pub struct Audit {
    /// `signing_key`: the name of an entry of `[secrets]`, an ed25519 key in PEM outside of the data folder.
    pub signing_key: Option<String>,
    /// `verify_key` (default: that of `signing_key`): whose checkpoints are believed.
    pub verify_key: Option<crate::audit::VerifyingKey>,
    /// `segment_entries` (default 1,000,000): entries after which the open segment is sealed.
    pub segment_entries: u64,
    /// `checkpoint_every` (default 1 d), where there is a folder.
    pub checkpoint_every: Span,
    /// `checkpoint_folder`: where the host puts checkpoints while it runs; none are signed by themselves without it.
    pub checkpoint_folder: Option<PathBuf>,
}

/// `[host]`
#[derive(Debug, Clone, Serialize)]
pub struct Host {
    /// `name`: shown in `/health` and in backups.
    pub name: String,
    /// `data`: the data folder, owned by one process.
    pub data: PathBuf,
    /// `watch` (default true): changed components and plugin keys are taken over while the host runs.
    pub watch: bool,
}

/// `[http]`
#[derive(Debug, Clone, Serialize)]
pub struct Http {
    /// `enabled` (default true).
    pub enabled: bool,
    /// `listen` (default `127.0.0.1:8087`); only loopback addresses.
    pub listen: SocketAddr,
    /// `allowed_hosts`: names accepted in the `Host` header beside the loopback names.
    pub allowed_hosts: Vec<String>,
    /// `allowed_origins`: origins of web pages that may call; none by default.
    pub allowed_origins: Vec<String>,
    /// `body_max` (default 64 MiB): one request's body after decompression.
    pub body_max: ByteSize,
    /// `requests_max` (default 64): requests served at once.
    pub requests_max: u32,
}

/// Which series engine holds the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineKind {
    Embedded,
    Influxdb2,
}

/// `[series]`
#[derive(Debug, Clone, Serialize)]
pub struct Series {
    /// `engine` (default `embedded`).
    pub engine: EngineKind,
    /// `bucket` (default `market`): the bucket of a CLI call or query that names none.
    pub bucket: String,
    pub embedded: Embedded,
    /// Present if and only if `engine = "influxdb2"`.
    pub influxdb2: Option<Influxdb2>,
    /// `[[series.revisions]]`: series that can be read as they were known at a time.
    pub revisions: Vec<Revision>,
    /// `[[series.decimals]]`: fields that are exact decimals.
    pub decimals: Vec<DecimalFields>,
}

/// `[[series.decimals]]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DecimalFields {
    /// `bucket` (default: that of `[series]`).
    pub bucket: String,
    /// `measurement`: a pattern, `*` for any run of characters.
    pub measurement: String,
    /// `fields`: patterns of their names.
    pub fields: Vec<String>,
    /// `scale`: digits after the point, 0 to 18.
    pub scale: u8,
}

impl DecimalFields {
    pub(crate) fn takes(&self, field: &str) -> bool {
        self.fields.iter().any(|pattern| crate::caller::pattern_matches(pattern, field))
    }
}

/// `[[series.revisions]]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Revision {
    /// `bucket` (default: that of `[series]`).
    pub bucket: String,
    /// `measurement`: a pattern, `*` for any run of characters.
    pub measurement: String,
    /// `window`: how far back.
    pub window: Span,
}

/// `[series.embedded]`
#[derive(Debug, Clone, Serialize)]
pub struct Embedded {
    /// `memory_max` (default 256 MiB, 16 MiB..=64 GiB): what rows may take in memory, written, decoded and cached.
    pub memory_max: ByteSize,
    /// `head_max` (default and most: a quarter of `memory_max`): rows in memory before they are sealed into chunks.
    pub head_max: ByteSize,
    /// `chunk_rows` (default 65536, 1024..=1048576): rows of a full chunk.
    pub chunk_rows: u32,
    /// `seal_after` (default 5 min): rows older than this in memory are sealed.
    pub seal_after: Span,
    /// `compact_every` (default 10 min): background compaction; `0 s` turns it off.
    pub compact_every: Span,
    /// `cache_max` (default an eighth of `memory_max`, at most half): decoded chunks kept in memory; `0 B` keeps none.
    pub cache_max: ByteSize,
}

/// `[series.influxdb2]`
#[derive(Debug, Clone, Serialize)]
pub struct Influxdb2 {
    pub url: String,
    pub org: String,
    /// `token`: the name of an entry of `[secrets]`.
    pub token: String,
    /// `timeout` (default 10 s) of one request.
    pub timeout: Span,
    /// `create_buckets` (default true): create a bucket at its first write.
    pub create_buckets: bool,
    /// `outbox_max` (default 4 GiB): acknowledged writes that wait for the server; more are refused.
    pub outbox_max: ByteSize,
    /// `batch_wait` (default 50 ms): how long an acknowledged write waits for others to go with.
    pub batch_wait: Span,
    /// `[series.influxdb2.retention]`: how long InfluxDB keeps the rows of a bucket; a bucket without one is left as it is.
    pub retention: BTreeMap<String, Span>,
}

/// `[disk]`: watermarks of the free space on the disk that holds the data folder.
#[derive(Debug, Clone, Serialize)]
pub struct Disk {
    /// `warn_below` (default 2 GiB).
    pub warn_below: ByteSize,
    /// `read_only_below` (default 512 MiB): writes are refused, retention still runs.
    pub read_only_below: ByteSize,
    /// `reserve` (default 64 MiB): a file kept so that retention can run on a full disk.
    pub reserve: ByteSize,
}

/// `[limits]` of the host as a whole.
#[derive(Debug, Clone, Serialize)]
pub struct Limits {
    /// `query_time` (default 30 s).
    pub query_time: Span,
    /// `query_rows` (default 5,000,000): rows in one answer.
    pub query_rows: u64,
    /// `write_rows` (default 1,000,000): rows in one batch.
    pub write_rows: u64,
    /// `import_file` (default 4 GiB): bytes of a file that is imported, unpacked if gzip wrote it; it is kept in the data folder
    /// as long as that takes.
    pub import_file: ByteSize,
    /// `series_max` (default 1,000,000): series in the store.
    pub series_max: u64,
    /// `readers` (default 4): reader connections per SQLite file.
    pub readers: u32,
    /// `cache_max` (default 16 MiB): skills, settings and tokens that were read lately, kept in memory; `0 B` keeps none.
    pub cache_max: ByteSize,
    /// `[limits.plugins]`
    pub plugins: HostPluginLimits,
}

/// `[safety]`: the floor under every retention plan.
#[derive(Debug, Clone, Serialize)]
pub struct Safety {
    /// `max_drop_share` (default `20 %`): share of a store's rows, in percent, that one run may drop
    /// without confirmation.
    pub max_drop_share_percent: u32,
    /// `[safety.keep_at_least]`: the least age per kind (`tick bar book signal metric other`) before raw
    /// rows may go. Kinds not named: 1 d.
    pub keep_at_least: BTreeMap<String, Span>,
}

/// The kinds of a file store; each has its own place in the layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FileKind {
    Models,
    Objects,
    Archives,
    Templates,
    Logs,
    Debug,
}

/// What names of a store must look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// Any name.
    #[default]
    Free,
    /// `TYPE/2026-06-26/NAME`.
    Dated,
}

/// Which versions of a store stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Keep {
    /// `keep_versions`: so many of each name, the newest; `None`: all.
    pub versions: Option<u64>,
    /// `keep_for`: those that are not older; `None`: all.
    pub span: Option<Span>,
    /// Whether the newest version of a name goes, too, when it is older: in stores of logs and debug artifacts, where each name is
    /// written once.
    pub whole_names: bool,
}

impl Keep {
    pub const ALL: Self = Self { versions: None, span: None, whole_names: false };
}

/// `[files.NAME]`
#[derive(Debug, Clone, Serialize)]
pub struct FileStore {
    pub kind: FileKind,
    /// `root` (default `<data>/files/NAME`).
    pub root: PathBuf,
    /// `quota` (by kind): bytes that its objects take.
    pub quota: ByteSize,
    /// `quota_files` (default 100,000): versions.
    pub quota_files: u64,
    /// `file_max` (default 2 GiB): bytes of one file.
    pub file_max: ByteSize,
    /// `caller_quota` (default `quota`): bytes of the versions that one token or plugin put there.
    pub caller_quota: ByteSize,
    /// `caller_quota_files` (default `quota_files`): versions that one token or plugin put there.
    pub caller_quota_files: u64,
    /// `layout` (default `free`).
    pub layout: Layout,
    /// `keep_versions`, `keep_for` (by kind).
    pub keep: Keep,
    /// `backup` (default true): the store is part of backups. A store that holds backups must not be.
    pub backup: bool,
}

/// `[logs]`: lines of the trader's logs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Logs {
    /// `store`: the entry of `[files]` that keeps segments; no lines are taken without it.
    pub store: Option<String>,
    /// `segment` (default 8 MiB): bytes of lines that become a file.
    pub segment: ByteSize,
    /// `segment_age` (default 1 h): how long lines wait for more before they become a file.
    pub segment_age: Span,
    /// `line_max` (default 64 KiB): bytes of one line; what is longer is cut and marked.
    pub line_max: ByteSize,
}

/// `[secrets.NAME]`: exactly one of `env` and `file`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretSource {
    Env(String),
    File(PathBuf),
}

/// `[backup.NAME]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Offsite {
    /// `plugin`: the backup target that keeps the blobs.
    pub plugin: String,
    /// `password`: the secret that opens the repository.
    pub password: String,
    /// `keep_last` (7), `keep_daily` (30), `keep_weekly` (12), `keep_monthly` (24): what `backup forget` keeps.
    pub keep: crate::backup::Keep,
}

/// `[trust]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Trust {
    /// `required` (default: true where there is a key): every component must be signed by one of the keys.
    pub required: bool,
    /// `[trust.keys]`: minisign public keys (ed25519, base64) by name.
    pub keys: BTreeMap<String, String>,
}

/// The four worlds of `wit/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum World {
    RetentionPolicy,
    SkillIndexer,
    QueryBuilder,
    BackupTarget,
}

impl World {
    pub const ALL: [Self; 4] =
        [Self::RetentionPolicy, Self::SkillIndexer, Self::QueryBuilder, Self::BackupTarget];
    pub const fn name(self) -> &'static str {
        match self {
            Self::RetentionPolicy => "retention-policy",
            Self::SkillIndexer => "skill-indexer",
            Self::QueryBuilder => "query-builder",
            Self::BackupTarget => "backup-target",
        }
    }
}

/// `[plugins.NAME]`
#[derive(Debug, Clone, Serialize)]
pub struct Plugin {
    pub name: String,
    /// `component`: the wasm file.
    pub component: PathBuf,
    pub world: World,
    /// `sha256`: the pin; a component with another digest is refused.
    pub sha256: Option<String>,
    /// `signed_by`, else every key of `[trust.keys]` where `trust.required`: one of them must have signed the component.
    /// Empty: no signature is asked for.
    pub signers: BTreeMap<String, String>,
    /// `enabled` (default true).
    pub enabled: bool,
    /// `schedule`: a cron line of five fields, or `every 15 min`.
    pub schedule: Option<Schedule>,
    /// `[plugins.NAME.on]`: what wakes it.
    pub on: On,
    /// `timezone` (default `UTC`): the IANA zone of a cron schedule.
    pub timezone: String,
    /// `catch_up` (default `once`): what happens to runs missed while the host was down: `once` or `skip`.
    /// Runs of one plugin never overlap; a run that is due while another goes on is skipped and counted.
    pub catch_up: bool,
    /// `[plugins.NAME.grants]`: what the operator gives.
    pub grants: Grants,
    /// `[plugins.NAME.limits]`
    pub limits: PluginLimits,
    /// `[plugins.NAME.on_failure]`
    pub on_failure: OnFailure,
    /// `[plugins.NAME.config]`: handed to the guest as JSON, checked against the plugin's schema.
    pub config: serde_json::Value,
}

/// `[plugins.NAME.on]`: events after which a plugin runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct On {
    /// `write`: patterns `bucket/measurement`; what plugins write counts for none.
    pub write: Vec<String>,
    /// `skill` (default false): a version of a skill was stored.
    pub skill: bool,
    /// `debounce` (default 1 s): from the first event to the run, which stands for all that came meanwhile.
    pub debounce: Span,
}

impl On {
    /// Does anything wake it?
    pub fn any(&self) -> bool {
        self.skill || !self.write.is_empty()
    }
}

/// When a plugin runs by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    Cron(String),
    Every(Span),
}

/// `[plugins.NAME.on_failure]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OnFailure {
    /// `retries` (default 2) of a failed scheduled run, with a back-off that doubles.
    pub retries: u32,
    /// `backoff` (default 1 s): before the first retry.
    pub backoff: Span,
    /// `disable_after` (default 5) failed runs in a row; 0 never disables.
    pub disable_after: u32,
}

impl Default for OnFailure {
    fn default() -> Self {
        Self { retries: 2, backoff: Span::from_secs(1), disable_after: 5 }
    }
}
