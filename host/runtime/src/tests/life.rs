//! Loading, the cache of compiled code, schedules, and what a plugin that fails comes to.

use super::guest::{EMPTY, Guest};
use super::{Host, OP, manifest, until};
use crate::compile::{Compiler, folder};
use crate::component::{Loaded, load};
use crate::engine::Engines;
use crate::{Plugins, RunOptions};
use shiphold_storage::audit::AuditFilter;
use shiphold_storage::manifest::HostPluginLimits;
use shiphold_storage::schema::now_ns;
use shiphold_storage::{Caller, Kind, Result, Scope};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use tokio::sync::watch;

/// No such program: a compilation that is tried fails.
fn nobody() -> Compiler {
    Compiler::Child("/nonexistent/compiler".into())
}

/// A folder with a plugin, without stores.
struct Cache {
    dir: tempfile::TempDir,
    engines: Engines,
}

impl Cache {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("p.wasm"), Guest::new(EMPTY).build()).unwrap();
        Self { dir, engines: Engines::new(&HostPluginLimits::default()) }
    }

    fn folder(&self) -> PathBuf {
        folder(self.dir.path())
    }

    async fn load(&self, limits: &str, compiler: &Compiler) -> Result<Loaded> {
        let manifest = manifest(self.dir.path(), "", limits);
        load(&self.engines, &manifest.plugins["p"], &self.folder(), compiler).await
    }

    /// The files with an ending, in order.
    fn files(&self, ending: &str) -> Vec<PathBuf> {
        let mut all: Vec<PathBuf> = std::fs::read_dir(self.folder())
            .unwrap()
            .map(|e| e.unwrap().path())
            .filter(|p| p.to_string_lossy().ends_with(ending))
            .collect();
        all.sort();
        all
    }
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_compiled_once_is_not_compiled_again() {
    let cache = Cache::new();
    assert!(cache.load("", &nobody()).await.is_err());
    assert!(cache.load("", &Compiler::InProcess).await.unwrap().compiled);
    assert!(!cache.load("", &nobody()).await.unwrap().compiled);
    assert_eq!(mode(&cache.folder()), 0o700);
    assert!(cache.files("wasm").iter().all(|f| mode(f) == 0o600), "{:?}", cache.files(""));
    assert_eq!((cache.files(".cwasm").len(), cache.files(".wasm").len()), (1, 0));
    // Code that counts fuel is another code.
    let fuel = "[plugins.p.limits]\nfuel = 1000";
    assert!(cache.load(fuel, &nobody()).await.is_err());
    assert!(cache.load(fuel, &Compiler::InProcess).await.unwrap().compiled);
    assert_eq!(cache.files(".cwasm").len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn code_that_was_changed_is_never_loaded() {
    let cache = Cache::new();
    let fresh = || async { cache.load("", &Compiler::InProcess).await.unwrap().compiled };
    assert!(fresh().await);
    let code = cache.files(".cwasm").remove(0);
    let digest = cache.files(".sha256").remove(0);
    let whole = std::fs::read(&code).unwrap();
    let mut changed = whole.clone();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    for bytes in [&changed[..], &whole[..whole.len() - 1], b""] {
        std::fs::write(&code, bytes).unwrap();
        assert!(cache.load("", &nobody()).await.is_err(), "{} bytes", bytes.len());
        assert!(fresh().await);
    }
    std::fs::remove_file(&digest).unwrap();
    assert!(fresh().await, "code without a digest");
    std::fs::write(&digest, "0".repeat(64)).unwrap();
    assert!(fresh().await, "another digest");
    std::fs::set_permissions(&code, std::fs::Permissions::from_mode(0o622)).unwrap();
    assert!(fresh().await, "others could write to it");
    let elsewhere = cache.dir.path().join("elsewhere");
    std::fs::rename(&code, &elsewhere).unwrap();
    symlink(&elsewhere, &code).unwrap();
    assert!(fresh().await, "a link to somewhere else");
    assert!(!fresh().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_folder_of_the_cache_is_the_owners_alone() {
    let cache = Cache::new();
    cache.load("", &Compiler::InProcess).await.unwrap();
    std::fs::set_permissions(cache.folder(), std::fs::Permissions::from_mode(0o777)).unwrap();
    cache.load("", &Compiler::InProcess).await.unwrap();
    assert_eq!(mode(&cache.folder()), 0o700);
    let elsewhere = cache.dir.path().join("elsewhere");
    std::fs::rename(cache.folder(), &elsewhere).unwrap();
    symlink(&elsewhere, cache.folder()).unwrap();
    let e = cache.load("", &Compiler::InProcess).await.unwrap_err();
    assert!(e.kind() == Kind::Denied && e.message().contains("components"), "{e:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_without_room_for_a_pool_runs_plugins_too() {
    let cache = Cache { engines: Engines::short(), ..Cache::new() };
    let loaded = cache.load("", &Compiler::InProcess).await.unwrap();
    assert!(loaded.ticked.mode.short && cache.files(".short.cwasm").len() == 1);
    let host = Host::new(&Guest::new(EMPTY), "", "").await;
    let (plan, used) = crate::call::plan(
        &std::sync::Arc::new(loaded),
        &host.layer,
        Default::default(),
        0,
        Default::default(),
    )
    .await;
    assert!(plan.is_ok_and(|p| p.actions.is_empty()) && used.memory_peak_bytes == 2 << 16);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_cannot_be_loaded_does_not_keep_the_host_from_going_on() {
    let host = Host::new(
        &Guest::new(EMPTY),
        "sha256 = \"0000000000000000000000000000000000000000000000000000000000000000\"",
        "",
    )
    .await;
    let status = host.plugins.list(&OP).unwrap().remove(0);
    assert!(!status.loaded && status.enabled && status.error.is_some_and(|e| e.contains("sha256")));
    assert!(host.run().await.unwrap_err().message().contains("not loaded"));
    assert!(host.newest().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_admin_runs_and_only_known_plugins() {
    let host = Host::new(&Guest::new(EMPTY), "enabled = false", "").await;
    let token = |scope| Caller::Token { id: 1, name: "t".into(), scope };
    let run = |caller: Caller| async move { host.plugins.run(&caller, "p", RunOptions::default()).await };
    let e = run(token(Scope::Write)).await.unwrap_err();
    assert_eq!(e.kind(), Kind::Denied);
    let host = Host::new(&Guest::new(EMPTY), "enabled = false", "").await;
    let e = host.run().await.unwrap_err();
    assert!(
        e.message().contains("disabled") && e.hint_text().unwrap().contains("plugins.p.enabled"),
        "{e:?}"
    );
    assert_eq!(host.plugins.set_enabled(&OP, "p", true).unwrap_err().kind(), Kind::Conflict);
    let e = host.plugins.run(&OP, "q\u{1b}", RunOptions::default()).await.unwrap_err();
    assert!(
        e.kind() == Kind::NotFound && !e.message().contains('\u{1b}') && e.hint_text().unwrap().contains('p')
    );
    assert_eq!(host.plugins.runs(&OP, "q", 1).unwrap_err().kind(), Kind::NotFound);
    assert!(host.plugins.list(&token(Scope::Read)).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_in_a_row_disable_a_plugin_until_an_operator_enables_it() {
    let host = Host::new(&Guest::new("unreachable"), "", "[plugins.p.on_failure]\ndisable_after = 2").await;
    for _ in 0..2 {
        assert_eq!(host.run().await.unwrap_err().kind(), Kind::Plugin);
    }
    let status = host.plugins.list(&OP).unwrap().remove(0);
    assert!(!status.enabled && status.loaded && status.last_run.is_some_and(|r| r.state == "failed"));
    let e = host.run().await.unwrap_err();
    assert!(e.kind() == Kind::Denied && e.message().contains("disabled"), "{e:?}");
    let trail = host.layer.audit().list(&OP, &AuditFilter::default()).unwrap();
    assert!(trail.iter().any(|e| e.action == "plugins.disable"), "{trail:?}");
    host.plugins.set_enabled(&OP, "p", true).unwrap();
    assert_eq!(host.run().await.unwrap_err().kind(), Kind::Plugin);
    // A dry run counts neither way.
    let dry = RunOptions { dry_run: true, ..RunOptions::default() };
    assert!(host.plugins.run(&OP, "p", dry).await.is_err());
    assert_eq!(host.plugins.list(&OP).unwrap()[0].failures, 1);
}

/// How the runs began, the oldest first.
fn triggers(host: &Host) -> Vec<String> {
    host.plugins.runs(&OP, "p", 100).unwrap().into_iter().rev().map(|r| r.trigger).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_scheduled_run_is_tried_again_and_a_refused_one_is_not() {
    let policy = "[plugins.p.on_failure]\nretries = 2\nbackoff = \"10 ms\"\ndisable_after = 0";
    let host = Host::new(&Guest::new("unreachable"), "", policy).await;
    host.plugins.due("p", "schedule").await;
    assert_eq!(triggers(&host), ["schedule", "retry", "retry"]);
    // A drop without the grant: the plan is refused, and would be again.
    let drop = "(i32.store (i32.const 20) (i32.const 1024)) (i32.store (i32.const 24) (i32.const 1))
        (i32.store8 (i32.const 1024) (i32.const 2))
        (i32.store (i32.const 1032) (i32.const 64)) (i32.store (i32.const 1036) (i32.const 6))
        (i32.store (i32.const 1040) (i32.const 70)) (i32.store (i32.const 1044) (i32.const 8)) (i32.const 16)";
    let guest = Guest::new(drop)
        .fields("(memory (export \"memory\") 2) (data (i32.const 64) \"marketbar.1d.A\")")
        .about("[grants.series]\nread = [\"*/*\"]");
    let grants = "[plugins.p.grants.series]\nread = [\"market/*\"]\n";
    let host = Host::new(&guest, "", &format!("{grants}{policy}")).await.with_bars(&["A"]);
    host.plugins.due("p", "schedule").await;
    assert_eq!(triggers(&host), ["schedule"]);
    let error = host.newest().unwrap().error.unwrap();
    assert!(error.contains("refused") && error.contains("series.drop"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_due_while_another_goes_on_is_skipped_and_counted() {
    let host = Host::new(
        &Guest::new("(loop $l (br $l)) unreachable"),
        "",
        "[plugins.p.limits]\ndeadline = \"500 ms\"",
    )
    .await;
    let plugins = host.plugins.clone();
    let first = tokio::spawn(async move { plugins.run(&OP, "p", RunOptions::default()).await });
    until("it runs", || host.newest().is_some_and(|r| r.state == "running")).await;
    host.plugins.due("p", "schedule").await;
    assert_eq!(host.plugins.list(&OP).unwrap()[0].skipped, 1);
    assert_eq!(first.await.unwrap().unwrap_err().kind(), Kind::Timeout);
    assert_eq!(triggers(&host).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_runs_until_the_host_ends() {
    let host = Host::new(&Guest::new(EMPTY), "schedule = \"every 1 s\"", "").await;
    let (down, shutdown) = watch::channel(false);
    let scheduler = host.plugins.spawn_scheduler(shutdown);
    until("two runs", || triggers(&host).len() >= 2).await;
    assert!(triggers(&host).iter().all(|t| t == "schedule"), "{:?}", triggers(&host));
    assert!(host.plugins.list(&OP).unwrap()[0].next_run_ns.is_some_and(|at| at > now_ns() - 1_000_000_000));
    down.send(true).unwrap();
    scheduler.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_missed_while_the_host_was_down_are_caught_up_with_one_or_none() {
    for (catch_up, want) in [("once", &["catch-up"][..]), ("skip", &[])] {
        let keys = format!("schedule = \"0 0 1 1 *\"\ncatch_up = \"{catch_up}\"");
        let host = Host::new(&Guest::new(EMPTY), &keys, "").await;
        let started = now_ns();
        host.layer.plugins().set_last_due("p", 0).unwrap();
        let (down, shutdown) = watch::channel(false);
        let scheduler = host.plugins.spawn_scheduler(shutdown);
        let state = || host.layer.plugins().state("p").unwrap();
        until("it was noted", || state().last_due.is_some_and(|at| at >= started)).await;
        until("as many runs", || triggers(&host).len() == want.len()).await;
        assert_eq!(triggers(&host), want, "{catch_up}");
        down.send(true).unwrap();
        scheduler.await.unwrap();
        drop(host.dir);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_enabled_plugin_nothing_is_compiled_and_nothing_is_followed() {
    let host = Host::new(&Guest::new(EMPTY), "enabled = false\nschedule = \"every 1 s\"", "").await;
    assert!(!folder(&host.layer.manifest().host.data).exists());
    let (down, shutdown) = watch::channel(false);
    let scheduler = host.plugins.spawn_scheduler(shutdown);
    assert!(host.plugins.list(&OP).unwrap()[0].next_run_ns.is_none());
    down.send(true).unwrap();
    scheduler.await.unwrap();
    assert!(host.layer.plugins().state("p").unwrap().last_due.is_none());
    let none = Plugins::load_with(host.layer.clone(), &nobody()).await;
    assert!(none.is_ok());
}
