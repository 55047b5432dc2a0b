//! Runs that a write or a skill brings about.

use super::guest::{EMPTY, Guest, LOG};
use super::{Host, OP, until};
use shiphold_storage::Caller;
use shiphold_storage::plugins::Run;
use shiphold_storage::series::{Column, Frame, SeriesKey, WriteBatch};
use shiphold_storage::skills::NewVersion;
use std::sync::Arc;
use tokio::sync::watch;

const ON: &str = "[plugins.p.on]\nwrite = [\"market/bar.*\"]\nskill = true\ndebounce = \"30 ms\"";

fn write(host: &Host, caller: &Caller, measurement: &str, time: i64) {
    let key = SeriesKey::new("market", measurement, Vec::new()).unwrap();
    let frame = Frame { times: vec![time], columns: vec![Column::float("close", vec![1.0])] };
    host.layer.series().write(caller, WriteBatch { series: vec![(key, frame)] }).unwrap();
}

/// What ended, newest first.
fn runs(host: &Host) -> Vec<Run> {
    host.plugins.runs(&OP, "p", 100).unwrap().into_iter().filter(|r| r.state == "ok").collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn many_writes_wake_it_once_and_a_skill_does_too() {
    let host = Host::new(&Guest::new(EMPTY), "catch_up = \"skip\"", ON).await;
    let (stop, shutdown) = watch::channel(false);
    let task = host.plugins.spawn_scheduler(shutdown);
    let mut time = 0;
    until("a run after a write", || {
        time += 1;
        write(&host, &OP, "bar.1d.A", time);
        !runs(&host).is_empty()
    })
    .await;
    assert_eq!(runs(&host)[0].trigger, "write");
    // The rest of those writes may lead to one more.
    let settled = async || {
        let mut before = runs(&host).len();
        loop {
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            let now = runs(&host).len();
            if now == before {
                return now;
            }
            before = now;
        }
    };
    let before = settled().await;
    // One commit of many series: how long many commits take is the disk's to say.
    let series = (0..50).map(|i| {
        let key = SeriesKey::new("market", format!("bar.1d.S{i}"), Vec::new()).unwrap();
        (key, Frame { times: vec![1], columns: vec![Column::float("close", vec![1.0])] })
    });
    host.layer.series().write(&OP, WriteBatch { series: series.collect() }).unwrap();
    until("a run after the burst", || runs(&host).len() > before).await;
    // Neither another measurement nor what a plugin writes wakes it.
    write(&host, &OP, "tick.A", 1);
    let grants =
        shiphold_storage::Grants { series_write: vec!["*".into()], overwrite: true, ..Default::default() };
    write(&host, &Caller::Plugin { name: "other".into(), grants: Arc::new(grants) }, "bar.1d.A", 5_000);
    assert_eq!(settled().await, before + 1);
    let skill =
        NewVersion { name: "s".into(), code: "x".into(), language: "python".into(), ..Default::default() };
    host.layer.skills().put(&OP, skill).unwrap();
    until("a run after a skill", || runs(&host).len() == before + 2).await;
    assert_eq!(runs(&host)[0].trigger, "skill");
    stop.send_replace(true);
    task.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_during_a_run_leads_to_one_more_after_it() {
    // Slow enough to be caught while it runs.
    let body = "(local $i i64)
        (loop $l (local.set $i (i64.add (local.get $i) (i64.const 1))) (br_if $l (i64.lt_u (local.get $i) (i64.const 400000000))))
        (call $log (i32.const 1) (i32.const 64) (i32.const 0)) (i32.const 16)";
    let host = Host::new(&Guest::new(body).imports(&[LOG]), "catch_up = \"skip\"", ON).await;
    let (stop, shutdown) = watch::channel(false);
    let task = host.plugins.spawn_scheduler(shutdown);
    let all = || host.plugins.runs(&OP, "p", 100).unwrap();
    let mut time = 0;
    until("a run that goes on", || {
        time += 1;
        if all().is_empty() {
            write(&host, &OP, "bar.1d.A", time);
        }
        all().first().is_some_and(|r| r.state == "running")
    })
    .await;
    for i in 0..10 {
        write(&host, &OP, "bar.1d.A", 1_000 + i);
    }
    until("the first and one more", || runs(&host).len() >= 2).await;
    let begun: Vec<(i64, i64)> = runs(&host).iter().map(|r| (r.started_at, r.id)).collect();
    assert!(begun[0] > begun[1]);
    stop.send_replace(true);
    task.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_starts_runs_it_once_because_events_may_have_been_missed() {
    let host = Host::new(&Guest::new(EMPTY), "", ON).await;
    let (stop, shutdown) = watch::channel(false);
    let task = host.plugins.spawn_scheduler(shutdown);
    until("a run to catch up", || !runs(&host).is_empty()).await;
    assert_eq!(runs(&host)[0].trigger, "catch-up");
    stop.send_replace(true);
    task.await.unwrap();
}
