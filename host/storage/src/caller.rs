//! Who asks. HTTP, CLI and plugins all enter the data layer with a [`Caller`], so a grant, a limit or an
//! audit entry exists once.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// Characters of a name that an error shows: a plugin asks for names of any length.
const NAME_CHARS_SHOWN_MAX: usize = 128;

/// What a token may do. Each scope includes the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Read every noun.
    Read,
    /// Read, and write series, skills, settings, state and files.
    Write,
    /// Everything: deletions, plugins, tokens, backup, maintenance.
    Admin,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        })
    }
}

/// Who enters the data layer.
#[derive(Debug, Clone)]
pub enum Caller {
    /// The person at the machine: the CLI, over the 0600 socket or with the folder's lock.
    Operator,
    /// A bearer of a token over HTTP.
    Token { id: i64, name: String, scope: Scope },
    /// A sandboxed component; what it may touch is its effective grant (asked ∩ given).
    Plugin { name: String, grants: Arc<Grants> },
}

impl Caller {
    /// How the audit trail names this caller: `operator`, `token:NAME`, `plugin:NAME`.
    pub fn actor(&self) -> String {
        match self {
            Self::Operator => "operator".into(),
            Self::Token { name, .. } => format!("token:{name}"),
            Self::Plugin { name, .. } => format!("plugin:{name}"),
        }
    }

    /// Refuses a token below `scope` and every plugin: plugins come in through the `*_pattern` checks.
    pub fn require(&self, scope: Scope, what: &str) -> Result<()> {
        match self {
            Self::Operator => Ok(()),
            Self::Token { scope: have, .. } if *have >= scope => Ok(()),
            Self::Token { name, scope: have, .. } => {
                Err(Error::denied(format!("token `{name}` has scope `{have}`; {what} needs `{scope}`"))
                    .hint(format!("create one with `shiphold tokens create NAME --scope {scope}`")))
            }
            Self::Plugin { name, .. } => Err(Error::denied(format!("plugin `{name}` may not {what}"))),
        }
    }

    /// May this caller read the series of `bucket`/`measurement`?
    pub fn may_read_series(&self, bucket: &str, measurement: &str) -> Result<()> {
        self.series(bucket, measurement, Scope::Read, |g| &g.series_read, "series.read")
    }

    /// May this caller write (add to) the series of `bucket`/`measurement`?
    pub fn may_write_series(&self, bucket: &str, measurement: &str) -> Result<()> {
        self.series(bucket, measurement, Scope::Write, |g| &g.series_write, "series.write")
    }

    fn series(
        &self,
        bucket: &str,
        measurement: &str,
        scope: Scope,
        patterns: impl Fn(&Grants) -> &Vec<String>,
        grant: &str,
    ) -> Result<()> {
        let Self::Plugin { name, grants } = self else { return self.require(scope, grant) };
        let path = format!("{bucket}/{measurement}");
        if patterns(grants).iter().any(|p| pattern_matches(p, &path)) {
            return Ok(());
        }
        Err(Error::denied(format!("plugin `{name}` has no `{grant}` grant for `{path}`"))
            .hint(format!("add a pattern to `grants.{grant}` of the plugin in shiphold.toml")))
    }

    /// May this caller read settings of `namespace`?
    pub fn may_read_settings(&self, namespace: &str) -> Result<()> {
        let Self::Plugin { name, grants } = self else { return self.require(Scope::Read, "settings.read") };
        if grants.settings_read.iter().any(|p| pattern_matches(p, namespace)) {
            return Ok(());
        }
        Err(Error::denied(format!(
            "plugin `{name}` has no `settings.read` grant for namespace `{namespace}`"
        ))
        .hint("add the namespace to `grants.settings.read` of the plugin in shiphold.toml"))
    }

    /// May this caller make commits? Each part of one needs a right of its own.
    pub fn may_commit(&self) -> Result<()> {
        match self {
            Self::Plugin { grants, .. } if grants.commits => Ok(()),
            Self::Plugin { name, .. } => {
                Err(Error::denied(format!("plugin `{name}` has no `commits` grant"))
                    .hint("set `grants.commits = true` of the plugin in shiphold.toml"))
            }
            other => other.require(Scope::Write, "commit"),
        }
    }

    /// May this caller change settings of `namespace`?
    pub fn may_write_settings(&self, namespace: &str) -> Result<()> {
        self.named(Scope::Write, |g| &g.settings_write, "settings.write", "namespace", namespace)
    }

    /// May this caller store versions of the skill `name`, and what they achieved?
    pub fn may_write_skill(&self, name: &str) -> Result<()> {
        self.named(Scope::Write, |g| &g.skills_write, "skills.write", "skill", name)
    }

    /// May this caller read the checkpoints of `strategy`?
    pub fn may_read_state(&self, strategy: &str) -> Result<()> {
        self.named(Scope::Read, |g| &g.state_read, "state.read", "strategy", strategy)
    }

    /// May this caller save checkpoints of `strategy`?
    pub fn may_write_state(&self, strategy: &str) -> Result<()> {
        self.named(Scope::Write, |g| &g.state_write, "state.write", "strategy", strategy)
    }

    /// May this caller do `what`, which reads the trading record of `account`?
    pub fn may_read_trades(&self, account: &str, what: &str) -> Result<()> {
        match self {
            Self::Plugin { .. } => {
                self.named(Scope::Read, |g| &g.trades_read, "trades.read", "account", account)
            }
            other => other.require(Scope::Read, what),
        }
    }

    /// May this caller do `what`, which adds to the trading record of `account`?
    pub fn may_write_trades(&self, account: &str, what: &str) -> Result<()> {
        match self {
            Self::Plugin { .. } => {
                self.named(Scope::Write, |g| &g.trades_write, "trades.write", "account", account)
            }
            other => other.require(Scope::Write, what),
        }
    }

    /// May this caller do `what`, which reads instruments? They are of no account: who may see or add to one must know what is traded.
    pub fn may_read_instruments(&self, what: &str) -> Result<()> {
        match self {
            Self::Plugin { grants, .. } if grants.trades() => Ok(()),
            Self::Plugin { name, .. } => Err(Error::denied(format!(
                "plugin `{name}` has no `trades.read` or `trades.write` grant to {what}"
            ))
            .hint("add a pattern to `grants.trades.read` of the plugin in shiphold.toml")),
            other => other.require(Scope::Read, what),
        }
    }

    /// May this caller do `what`, which reads the lines of the log `stream`?
    pub fn may_read_logs(&self, stream: &str, what: &str) -> Result<()> {
        match self {
            Self::Plugin { .. } => self.named(Scope::Read, |g| &g.logs_read, "logs.read", "stream", stream),
            other => other.require(Scope::Read, what),
        }
    }

    /// A grant whose patterns match the name of one `what`.
    fn named(
        &self,
        scope: Scope,
        patterns: impl Fn(&Grants) -> &Vec<String>,
        grant: &str,
        what: &str,
        name: &str,
    ) -> Result<()> {
        let Self::Plugin { name: plugin, grants } = self else { return self.require(scope, grant) };
        if patterns(grants).iter().any(|p| pattern_matches(p, name)) {
            return Ok(());
        }
        let shown: String = name.chars().take(NAME_CHARS_SHOWN_MAX).collect();
        Err(Error::denied(format!(
            "plugin `{plugin}` has no `{grant}` grant for the {what} `{}`",
            shown.escape_debug()
        ))
        .hint(format!("add a pattern to `grants.{grant}` of the plugin in shiphold.toml")))
    }
}

/// What a plugin may touch. Every list is empty by default: denied. Patterns are globs in which `*` stands
/// for any run of characters; series patterns match `bucket/measurement`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Grants {
    pub series_read: Vec<String>,
    pub series_write: Vec<String>,
    /// Series a retention plan may drop from; a plan that names another is refused whole.
    pub series_drop: Vec<String>,
    pub settings_read: Vec<String>,
    /// Namespaces whose settings may be changed, in commits.
    pub settings_write: Vec<String>,
    pub skills_read: bool,
    /// Skills of which versions, and what they achieved, may be stored, in commits.
    pub skills_write: Vec<String>,
    /// Units of work over all stores, each part within its own grant.
    pub commits: bool,
    /// Patterns of strategies whose checkpoints may be read, and saved.
    pub state_read: Vec<String>,
    pub state_write: Vec<String>,
    /// Patterns of accounts whose trading record may be read, and added to.
    pub trades_read: Vec<String>,
    pub trades_write: Vec<String>,
    /// Patterns of streams of logs whose lines may be read.
    pub logs_read: Vec<String>,
    /// `store/prefix` patterns.
    pub files_read: Vec<String>,
    pub files_write: Vec<String>,
    /// Files that may be taken away, versions and all.
    pub files_delete: Vec<String>,
    /// `METHOD host` entries.
    pub http: Vec<String>,
    pub secrets: Vec<String>,
    pub clock: bool,
    pub random: bool,
    /// The guest imports `wasi:*`, which holds nothing.
    pub wasi: bool,
    /// A write may replace what is there.
    pub overwrite: bool,
}

impl Grants {
    /// Is there an account whose trading record may be read, or added to?
    pub fn trades(&self) -> bool {
        !(self.trades_read.is_empty() && self.trades_write.is_empty())
    }

    /// What is both asked for and given. A pattern that is asked survives where a given pattern covers it;
    /// a given pattern survives where an asked one covers it.
    #[must_use]
    pub fn intersect(asked: &Self, given: &Self) -> Self {
        Self {
            series_read: meet(&asked.series_read, &given.series_read),
            series_write: meet(&asked.series_write, &given.series_write),
            series_drop: meet(&asked.series_drop, &given.series_drop),
            settings_read: meet(&asked.settings_read, &given.settings_read),
            settings_write: meet(&asked.settings_write, &given.settings_write),
            skills_read: asked.skills_read && given.skills_read,
            skills_write: meet(&asked.skills_write, &given.skills_write),
            commits: asked.commits && given.commits,
            state_read: meet(&asked.state_read, &given.state_read),
            state_write: meet(&asked.state_write, &given.state_write),
            trades_read: meet(&asked.trades_read, &given.trades_read),
            trades_write: meet(&asked.trades_write, &given.trades_write),
            logs_read: meet(&asked.logs_read, &given.logs_read),
            files_read: meet(&asked.files_read, &given.files_read),
            files_write: meet(&asked.files_write, &given.files_write),
            files_delete: meet(&asked.files_delete, &given.files_delete),
            http: crate::http_grant::meet(&asked.http, &given.http),
            secrets: meet(&asked.secrets, &given.secrets),
            clock: asked.clock && given.clock,
            random: asked.random && given.random,
            wasi: asked.wasi && given.wasi,
            overwrite: given.overwrite,
        }
    }
}

fn meet(asked: &[String], given: &[String]) -> Vec<String> {
    let mut out: Vec<String> = asked
        .iter()
        .filter(|a| given.iter().any(|g| pattern_matches(g, a)))
        .chain(given.iter().filter(|g| asked.iter().any(|a| pattern_matches(a, g))))
        .cloned()
        .collect();
    out.sort();
    out.dedup();
    out
}

/// Glob match in which `*` stands for any run of characters (also none) and everything else for itself.
/// Linear in `pattern × text` at worst, so a hostile pattern cannot make it explode.
pub fn pattern_matches(pattern: &str, text: &str) -> bool {
    let (p, t) = (pattern.as_bytes(), text.as_bytes());
    let (mut pi, mut ti) = (0, 0);
    let (mut star, mut mark) = (None, 0);
    while ti < t.len() {
        match p.get(pi) {
            Some(b'*') => {
                star = Some(pi);
                mark = ti;
                pi += 1;
            }
            Some(c) if Some(c) == t.get(ti) => {
                pi += 1;
                ti += 1;
            }
            _ => match star {
                Some(s) => {
                    pi = s + 1;
                    mark += 1;
                    ti = mark;
                }
                None => return false,
            },
        }
    }
    p.iter().skip(pi).all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (p, t, want) in [
            ("market/bar.*", "market/bar.1m.AAPL", true),
            ("market/bar.*", "metrics/bar.1m.AAPL", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("a*b*c", "a--b--c", true),
            ("a*b*c", "a--b--", false),
            ("*.AAPL", "tick.AAPL", true),
            ("tick.AAPL", "tick.AAPL2", false),
        ] {
            assert_eq!(pattern_matches(p, t), want, "{p} ~ {t}");
        }
    }

    #[test]
    fn a_plugin_without_grants_is_denied_everything() {
        let caller = Caller::Plugin { name: "p".into(), grants: Arc::default() };
        assert!(caller.may_read_series("market", "tick.AAPL").is_err());
        assert!(caller.may_write_series("market", "tick.AAPL").is_err());
        assert!(caller.may_read_settings("system").is_err());
        assert!(caller.may_read_state("momentum").is_err());
        assert!(caller.may_write_state("momentum").is_err());
        assert!(caller.may_commit().is_err());
        assert!(caller.may_read_trades("main", "list fills").is_err());
        assert!(caller.may_write_trades("main", "record trades").is_err());
        assert!(caller.may_read_instruments("list instruments").is_err());
        assert!(caller.may_read_logs("trader", "search logs").is_err());
        assert!(caller.may_write_settings("live").is_err());
        assert!(caller.may_write_skill("pullback").is_err());
        assert!(caller.require(Scope::Read, "read").is_err());
    }

    #[test]
    fn the_effective_grant_is_asked_and_given() {
        let grants = |read: &[&str]| Grants {
            series_read: read.iter().map(|s| (*s).into()).collect(),
            ..Grants::default()
        };
        let both = |a: &[&str], g: &[&str]| Grants::intersect(&grants(a), &grants(g)).series_read;
        assert_eq!(both(&["market/*"], &["market/bar.*"]), ["market/bar.*"]);
        assert_eq!(both(&["market/bar.1m.*"], &["market/*"]), ["market/bar.1m.*"]);
        assert!(both(&["market/*"], &[]).is_empty());
        assert!(both(&["market/*"], &["metrics/*"]).is_empty());
        let http = |entry: &str| Grants { http: vec![entry.into()], ..Grants::default() };
        let given = http("GET *.example.com");
        assert_eq!(Grants::intersect(&http("GET a.example.com"), &given).http, ["GET a.example.com"]);
        assert!(Grants::intersect(&http("GET http://a.example.com"), &given).http.is_empty(), "no TLS");
    }

    #[test]
    fn accounts_are_granted_apart_for_reading_and_writing() {
        let of = |read: &[&str], write: &[&str]| {
            let all = |names: &[&str]| names.iter().map(|n| (*n).into()).collect();
            Grants { trades_read: all(read), trades_write: all(write), ..Grants::default() }
        };
        let both = Grants::intersect(&of(&["*"], &["*"]), &of(&["paper-*"], &["paper-1"]));
        assert_eq!(both, of(&["paper-*"], &["paper-1"]));
        assert!(
            !Grants::intersect(&of(&["a"], &["b"]), &of(&["b"], &["a"])).trades(),
            "neither stands for the other"
        );
        let caller = Caller::Plugin { name: "p".into(), grants: both.into() };
        for (account, read, write) in [
            ("paper-1", true, true),
            ("paper-2", true, false),
            ("paper", false, false),
            ("main", false, false),
            ("", false, false),
            ("paper-1\0", true, false),
        ] {
            assert_eq!(caller.may_read_trades(account, "list fills").is_ok(), read, "{account:?}");
            assert_eq!(caller.may_write_trades(account, "record trades").is_ok(), write, "{account:?}");
        }
        let e = caller.may_write_trades("main\u{1b}[2J", "record trades").unwrap_err();
        assert!(e.message().contains("`trades.write`") && !e.message().contains('\u{1b}'), "{e:?}");
        assert!(e.hint_text().unwrap().contains("grants.trades.write"), "{e:?}");
        for (length, shown) in [
            (NAME_CHARS_SHOWN_MAX, NAME_CHARS_SHOWN_MAX),
            (NAME_CHARS_SHOWN_MAX + 1, NAME_CHARS_SHOWN_MAX),
            (1 << 20, NAME_CHARS_SHOWN_MAX),
        ] {
            let e = caller.may_read_trades(&"x".repeat(length), "list fills").unwrap_err();
            assert_eq!(e.message().matches('x').count(), shown, "{length}");
        }
        assert!(caller.may_read_instruments("list instruments").is_ok());
    }

    #[test]
    fn a_token_needs_its_scope() {
        let token = |scope| Caller::Token { id: 1, name: "t".into(), scope };
        assert!(token(Scope::Read).may_write_series("market", "x").is_err());
        assert!(token(Scope::Write).may_write_series("market", "x").is_ok());
        assert!(token(Scope::Write).require(Scope::Admin, "delete").is_err());
        assert!(token(Scope::Admin).require(Scope::Admin, "delete").is_ok());
    }
}
