//! Reload and roll-back under calls that go on.

use super::guest::{EMPTY, Guest, LOG};
use super::{Host, OP, until};
use crate::{PluginStatus, ReloadReport, RunOptions};
use shiphold_storage::audit::AuditFilter;
use shiphold_storage::schema::now_ns;
use shiphold_storage::{Caller, Kind, Scope};
use tokio::sync::watch;

/// A version of the component that logs a word at its end.
fn says(body: &'static str, data: &'static str, version: &str) -> Vec<u8> {
    let guest = Guest::new(body).imports(&[LOG]).fields(data);
    let mut bytes = guest.build();
    let at = bytes.windows(5).rposition(|w| w == b"1.2.3").unwrap();
    bytes[at..at + 5].copy_from_slice(version.as_bytes());
    bytes
}

const SAY: &str = "(call $log (i32.const 2) (i32.const 64) (i32.const 3)) (i32.const 16)";
/// Some hundred milliseconds of counting, then a word.
const SLOW: &str = "(local $i i64) (loop $l (local.set $i (i64.add (local.get $i) (i64.const 1)))
    (br_if $l (i64.lt_u (local.get $i) (i64.const 2000000000))))
    (call $log (i32.const 2) (i32.const 64) (i32.const 3)) (i32.const 16)";
const OLD: &str = "(memory (export \"memory\") 2) (data (i32.const 64) \"old\")";
const NEW: &str = "(memory (export \"memory\") 2) (data (i32.const 64) \"new\")";

const PLUGIN: &str = "[plugins.p]\ncomponent = \"p.wasm\"\nworld = \"retention-policy\"\n";
const DISK: &str = "[disk]\nreserve = \"0 B\"\nwarn_below = \"2 MiB\"\nread_only_below = \"1 MiB\"\n";

impl Host {
    fn component(&self, bytes: &[u8]) {
        std::fs::write(self.dir.path().join("p.wasm"), bytes).unwrap();
    }

    /// Writes the manifest whose `[plugins.p]` ends with `more`, and reloads.
    async fn reload(&self, more: &str) -> ReloadReport {
        self.manifest(&format!("{PLUGIN}{more}"));
        self.plugins.reload(&OP, None).await.unwrap()
    }

    fn manifest(&self, text: &str) {
        std::fs::write(self.dir.path().join("shiphold.toml"), format!("{DISK}{text}")).unwrap();
    }

    fn status(&self) -> PluginStatus {
        self.plugins.list(&OP).unwrap().remove(0)
    }

    async fn first(body: &'static str, more: &str) -> Self {
        let host = Self::new(&Guest::new(EMPTY), "", more).await;
        host.component(&says(body, OLD, "1.0.0"));
        let report = host.reload(more).await;
        assert_eq!((report.plugins[0].outcome.as_str(), report.restart_needed), ("loaded", Vec::new()));
        host
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_under_way_ends_on_the_old_version_and_the_next_is_answered_by_the_new() {
    let limits = "[plugins.p.limits]\ndeadline = \"120 s\"\n";
    let host = Host::first(SLOW, limits).await;
    let plugins = host.plugins.clone();
    let first = tokio::spawn(async move { plugins.run(&OP, "p", RunOptions::default()).await });
    until("it runs", || host.newest().is_some_and(|r| r.state == "running")).await;
    host.component(&says(SAY, NEW, "2.0.0"));
    host.reload(limits).await;
    let status = host.status();
    assert_eq!(
        (status.version.as_deref(), status.previous_version.as_deref()),
        (Some("2.0.0"), Some("1.0.0"))
    );
    assert_eq!(first.await.unwrap().unwrap().log, ["warn: old"]);
    assert_eq!(host.run().await.unwrap().log, ["warn: new"]);
    assert_eq!(host.status().counts.runs_ok, 2, "counts outlive a reload");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_cannot_be_loaded_leaves_the_last_good_one_serving() {
    let host = Host::first(SAY, "").await;
    let since = host.status().since_ns;
    for broken in [b"garbage".to_vec(), super::guest::dummy("query-builder-plugin")] {
        host.component(&broken);
        assert_eq!(host.reload("").await.plugins[0].outcome, "refused");
        let status = host.status();
        let error = status.error.unwrap();
        assert!(error.starts_with("serving version 1.0.0 since ") && error.contains("refused: "), "{error}");
        assert!(status.loaded && status.since_ns == since);
        assert_eq!(host.run().await.unwrap().log, ["warn: old"]);
    }
    // A manifest that is refused changes nothing either.
    host.manifest("[plugins.p]\nworld = 1\n");
    assert_eq!(host.plugins.reload(&OP, None).await.unwrap_err().kind(), Kind::Invalid);
    assert_eq!(host.run().await.unwrap().log, ["warn: old"]);
    host.component(&says(SAY, NEW, "2.0.0"));
    assert_eq!(host.reload("").await.plugins[0].outcome, "loaded");
    assert_eq!((host.status().error, host.run().await.unwrap().log), (None, vec!["warn: new".to_string()]));
    assert_eq!((host.status().counts.reloads_ok, host.status().counts.reloads_refused), (2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_roll_back_serves_the_version_before_until_the_component_changes() {
    let host = Host::first(SAY, "").await;
    host.component(&says(SAY, NEW, "2.0.0"));
    host.reload("").await;
    let back = host.plugins.roll_back(&OP, "p").await.unwrap();
    assert_eq!((back.before.as_deref(), back.version.as_deref()), (Some("2.0.0"), Some("1.0.0")));
    assert_eq!(host.run().await.unwrap().log, ["warn: old"]);
    assert_eq!(host.reload("").await.plugins[0].outcome, "unchanged");
    assert!(host.status().rolled_back);
    host.component(&says(SAY, NEW, "3.0.0"));
    assert_eq!(host.reload("").await.plugins[0].outcome, "loaded");
    assert_eq!((host.run().await.unwrap().log, host.status().rolled_back), (vec!["warn: new".into()], false));
    let trail = host.layer.audit().list(&OP, &AuditFilter::default()).unwrap();
    let rolled = trail.iter().find(|e| e.action == "plugins.rollback").unwrap();
    assert!(
        format!("{rolled:?}").contains("2.0.0") && format!("{rolled:?}").contains("sha256"),
        "{rolled:?}"
    );
    assert!(trail.iter().any(|e| e.action == "plugins.reload"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_leaves_the_manifest_stops_and_what_comes_in_starts() {
    let host = Host::first(SAY, "").await;
    host.manifest("[http]\nrequests_max = 65\n");
    let report = host.plugins.reload(&OP, None).await.unwrap();
    assert_eq!((report.plugins[0].outcome.as_str(), report.restart_needed), ("removed", vec!["http".into()]));
    assert_eq!(host.run().await.unwrap_err().kind(), Kind::NotFound);
    assert!(host.plugins.list(&OP).unwrap().is_empty());
    host.manifest(&PLUGIN.replace("[plugins.p]", "[plugins.q]"));
    assert_eq!(host.plugins.reload(&OP, Some("q")).await.unwrap().plugins[0].outcome, "loaded");
    assert!(host.plugins.run(&OP, "q", RunOptions::default()).await.is_ok());
    assert_eq!(host.plugins.reload(&OP, Some("nobody")).await.unwrap_err().kind(), Kind::NotFound);
    assert_eq!(host.plugins.roll_back(&OP, "q").await.unwrap_err().kind(), Kind::Conflict);
    let reader = Caller::Token { id: 1, name: "t".into(), scope: Scope::Write };
    assert_eq!(host.plugins.reload(&reader, None).await.unwrap_err().kind(), Kind::Denied);
    assert_eq!(host.plugins.roll_back(&reader, "q").await.unwrap_err().kind(), Kind::Denied);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_component_runs_again_after_failures_and_not_against_an_operators_will() {
    let policy = "[plugins.p.on_failure]\ndisable_after = 1\n";
    let host = Host::first("unreachable", policy).await;
    host.run().await.unwrap_err();
    assert!(!host.status().enabled);
    host.reload(&format!("timezone = \"Europe/Paris\"\n{policy}")).await;
    assert!(!host.status().enabled, "the same component would fail again");
    host.component(&says(SAY, NEW, "2.0.0"));
    host.reload(policy).await;
    assert!(host.status().enabled && host.run().await.is_ok());
    host.plugins.set_enabled(&OP, "p", false).unwrap();
    host.component(&says(SAY, OLD, "3.0.0"));
    host.reload(policy).await;
    assert!(!host.status().enabled);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_is_followed_over_reloads_and_planned_anew_when_it_changed() {
    let every = "schedule = \"every 1 s\"\n";
    let host = Host::first(SAY, every).await;
    let (down, shutdown) = watch::channel(false);
    let scheduler = host.plugins.spawn_scheduler(shutdown);
    let runs = || host.plugins.runs(&OP, "p", 100).unwrap();
    until("a run", || !runs().is_empty()).await;
    for version in ["2.0.0", "3.0.0", "4.0.0"] {
        host.component(&says(SAY, NEW, version));
        host.reload(every).await;
    }
    let before = runs().len();
    until("runs of the new version", || runs().len() >= before + 2).await;
    assert!(runs()[0].log.iter().all(|l| l == "warn: new") && runs().iter().all(|r| r.trigger == "schedule"));
    let mut starts: Vec<i64> = runs().iter().map(|r| r.started_at).collect();
    starts.sort_unstable();
    // Due once a second: as many runs as seconds between the first and the last, and no more.
    let seconds = (starts[starts.len() - 1] - starts[0] + 500_000_000) / 1_000_000_000;
    assert_eq!(i64::try_from(starts.len()).unwrap(), seconds + 1, "none lost, none twice: {starts:?}");
    let yearly = "schedule = \"0 0 1 1 *\"\n";
    host.reload(yearly).await;
    until("it is planned anew", || {
        host.status().next_run_ns.is_some_and(|at| at > now_ns() + 10_000_000_000)
            || now_ns() % 31_536_000_000_000_000 < 20_000_000_000
    })
    .await;
    down.send(true).unwrap();
    scheduler.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_file_is_noticed() {
    let host = Host::first(SAY, "").await;
    let (down, shutdown) = watch::channel(false);
    let scheduler = host.plugins.spawn_scheduler(shutdown);
    // The watch takes its first look at some moment: the file changes until one change was seen.
    for n in 0..1_000 {
        host.component(&says(SAY, NEW, if n % 2 == 0 { "2.0.0" } else { "3.0.0" }));
        let (mut looks, before) = (0, host.status().counts.reloads_ok);
        until("some looks", || {
            looks += 1;
            looks > 700 || host.status().counts.reloads_ok > before
        })
        .await;
        if host.status().counts.reloads_ok > before {
            break;
        }
    }
    assert_eq!(host.run().await.unwrap().log, ["warn: new"]);
    down.send(true).unwrap();
    scheduler.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_the_runs_and_the_whole_state_are_told() {
    let host = Host::first(SAY, "").await;
    host.run().await.unwrap();
    host.component(&says("unreachable", NEW, "2.0.0"));
    let detail = host.plugins.detail(&OP, "p").unwrap();
    assert_eq!((detail.source.as_str(), detail.current_run), ("changed", None));
    host.reload("").await;
    assert_eq!(host.plugins.detail(&OP, "p").unwrap().source, "loaded");
    host.run().await.unwrap_err();
    let lines = host.plugins.logs(&OP, "p", 10).unwrap();
    assert_eq!((lines.len(), lines[0].line.as_str()), (2, "warn: old"));
    assert!(lines[1].line.starts_with("the run failed: ") && lines[1].run > lines[0].run);
    assert_eq!(host.plugins.logs(&OP, "p", 1).unwrap().len(), 1);
    let grants = host.plugins.grants(&OP, "p").unwrap();
    assert!(grants.may.is_empty() && grants.cannot.iter().any(|c| c == "It cannot reach the network."));
}
