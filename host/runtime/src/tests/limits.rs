//! Each limit at its boundary: the last that passes, the first that does not.

use super::guest::{CONFIG, EMPTY, GAUGE, Guest, LOG, RANDOM};
use super::{Host, OP, until};
use crate::call::Session;
use crate::component::Loaded;
use crate::host::error::to_guest;
use crate::limits::Hit;
use shiphold_storage::{DataLayer, Error, Kind, Result};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// A guest of the length of a program: it lives as long as the tests do.
fn text(body: String) -> &'static str {
    Box::leak(body.into_boxed_str())
}

fn limits(line: &str) -> String {
    format!("[plugins.p.limits]\n{line}")
}

/// `at` passes; `over` does not, and the error names the key with its value and how to raise it.
async fn edge(guest: &Guest, tables: &str, key: &str, at: &str, over: &str) {
    let host = Host::new(guest, "", &format!("{}\n{tables}", limits(&format!("{key} = {at}")))).await;
    host.run().await.unwrap_or_else(|e| panic!("{key} = {at}: {e:?}"));
    let host = Host::new(guest, "", &format!("{}\n{tables}", limits(&format!("{key} = {over}")))).await;
    let e = host.run().await.map(|r| format!("{r:?}")).unwrap_err();
    names(&e, key, over.trim_matches('"'));
    assert_eq!(host.newest().unwrap().error.as_deref(), Some(e.message()));
    // The engine goes on, and says the same again.
    assert_eq!(host.run().await.map(drop).unwrap_err().message(), e.message());
}

#[track_caller]
fn names(e: &Error, key: &str, value: &str) {
    assert_eq!(e.kind(), Kind::Limit, "{e:?}");
    assert!(e.message().contains("`p`") && e.message().contains(&format!("limits.{key} = {value}")), "{e}");
    assert!(e.hint_text().unwrap().contains(&format!("raise `plugins.p.limits.{key}`")), "{e:?}");
}

/// The core of the guest: one instance, one memory, no table.
#[tokio::test(flavor = "multi_thread")]
async fn a_component_is_made_of_as_many_parts_as_it_may_be() {
    let two = "(memory (export \"memory\") 2) (memory $b 1) (table 1 funcref) (table 1 funcref)";
    edge(&Guest::new(EMPTY).fields(two), "", "memories", "2", "1").await;
    edge(&Guest::new(EMPTY).fields(two), "", "tables", "2", "1").await;
    // The encoder puts two more beside the module of one that imports functions with memory.
    let body = "(call $log (i32.const 0) (i32.const 0) (i32.const 0)) (i32.const 16)";
    edge(&Guest::new(body).imports(&[LOG]), "", "instances", "3", "2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_of_all_memories_of_an_instance_counts_together() {
    let two = "(memory (export \"memory\") 2) (memory $b 1)";
    let body = "(drop (memory.grow $b (i32.const 1))) (i32.const 16)";
    edge(&Guest::new(body).fields(two), "", "memory", "\"256 KiB\"", "\"192 KiB\"").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_grows_its_tables_without_end_is_ended() {
    let fields = "(memory (export \"memory\") 2) (table $a 0 funcref) (table $b 0 funcref)";
    let body = "(loop $l
            (drop (table.grow $a (ref.null func) (i32.const 7)))
            (drop (table.grow $b (ref.null func) (i32.const 11)))
            (br $l)) unreachable";
    let host = Host::new(&Guest::new(body).fields(fields), "", "").await;
    names(&host.run().await.unwrap_err(), "table_entries", "10000");
    let body = "(drop (table.grow $a (ref.null func) (i32.const 400)))
        (drop (table.grow $b (ref.null func) (i32.const 600))) (i32.const 16)";
    edge(&Guest::new(body).fields(fields), "", "table_entries", "1000", "999").await;
}

const SERIES: &str = "[plugins.p.grants.series]\nread = [\"market/*\"]";
const OPEN: &str = r#"(import "shiphold:host/series@0.1.2" "open-scan"
    (func $open (param i32 i32 i32 i32 i32 i32 i64 i64 i32 i32 i32)))"#;
const SCAN: &str =
    r#"(import "shiphold:host/series@0.1.2" "[method]scan.next" (func $scan (param i32 i32 i32)))"#;
const NAMES: &str =
    "(memory (export \"memory\") 2) (data (i32.const 64) \"market\") (data (i32.const 80) \"bar.1d.A\")";

/// Opens a read of `bar.1d.A`: the answer is at 32, the handle at 36.
const OPEN_A: &str = "(call $open (i32.const 64) (i32.const 6) (i32.const 80) (i32.const 8) (i32.const 0) (i32.const 0)
    (i64.const -9223372036854775808) (i64.const 9223372036854775807) (i32.const 0) (i32.const 0) (i32.const 32))
    (if (i32.load8_u (i32.const 32)) (then unreachable))";

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_holds_as_many_resources_as_it_may() {
    // With the cursor that it was given they are three.
    let guest = Guest::new(text(format!("{OPEN_A} {OPEN_A} (i32.const 16)")))
        .imports(&[OPEN])
        .fields(NAMES)
        .about("[grants.series]\nread = [\"*/*\"]");
    for (handles, passes) in [(3, true), (2, false)] {
        let tables = format!("{}\n{SERIES}", limits(&format!("handles = {handles}")));
        let host = Host::new(&guest, "", &tables).await.with_bars(&["A"]);
        match host.run().await {
            Ok(_) => assert!(passes),
            Err(e) => {
                assert!(!passes, "{e:?}");
                names(&e, "handles", "2");
            }
        }
    }
}

/// wasmtime has no type for the handles that a component makes of its own resources.
#[tokio::test]
async fn handles_of_the_components_own_resources_count_too() {
    let text = r#"(component
        (type $r (resource (rep i32)))
        (core func $new (canon resource.new $r))
        (core module $m
            (import "" "new" (func $new (param i32) (result i32)))
            (func (export "run") (drop (call $new (i32.const 1))) (drop (call $new (i32.const 2)))))
        (core instance $i (instantiate $m (with "" (instance (export "new" (func $new))))))
        (func (export "run") (canon lift (core func $i "run"))))"#;
    let engine = wasmtime::Engine::default();
    let component = wasmtime::component::Component::new(&engine, wat::parse_str(text).unwrap()).unwrap();
    for (handles, ends) in [(2, None), (1, Some(Hit::Handles))] {
        let mut store = wasmtime::Store::new(&engine, ());
        store.set_max_component_handles(handles);
        let linker = wasmtime::component::Linker::new(&engine);
        let instance = linker.instantiate(&mut store, &component).unwrap();
        let run = instance.get_typed_func::<(), ()>(&mut store, "run").unwrap();
        let hit = run.call(&mut store, ()).err().map(|e| Hit::behind(&e));
        assert_eq!(hit, ends.map(Some));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_a_call_is_handed_end_it() {
    let random = |bytes: &[u32]| {
        let calls: String =
            bytes.iter().map(|n| format!("(call $random (i32.const {n}) (i32.const 32))")).collect();
        Guest::new(text(format!("{calls} (i32.const 16)")))
            .imports(&[RANDOM])
            .about("[grants]\nrandom = true")
    };
    let granted = "[plugins.p.grants]\nrandom = true";
    edge(&random(&[2048]), granted, "input", "\"2 KiB\"", "\"2047 B\"").await;
    edge(&random(&[1024, 1000, 24]), granted, "input", "\"2 KiB\"", "\"2047 B\"").await;
    // A configuration, which is given without asking for a length.
    let config = Guest::new("(call $config (i32.const 32)) (i32.const 16)")
        .imports(&[CONFIG])
        .about("[config]\ntype = \"object\"");
    let text = format!("[plugins.p.config]\nx = \"{}\"", "y".repeat(2_048 - "{\"x\":\"\"}".len()));
    edge(&config, &text, "input", "\"2 KiB\"", "\"2047 B\"").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_reads_without_end_is_ended() {
    let body = format!(
        "(loop $again {OPEN_A}
            (call $scan (i32.load (i32.const 36)) (i32.const 1000) (i32.const 128))
            (if (i32.load8_u (i32.const 128)) (then unreachable))
            (global.set $free (i32.const 65536))
            (call $drop (i32.load (i32.const 36)))
            (br $again)) unreachable"
    );
    let drop = r#"(import "shiphold:host/series@0.1.2" "[resource-drop]scan" (func $drop (param i32)))"#;
    let guest = Guest::new(text(body))
        .imports(&[OPEN, SCAN, drop])
        .fields(NAMES)
        .about("[grants.series]\nread = [\"*/*\"]");
    let tables = format!("{}\n{SERIES}", limits("input = \"4 KiB\"\ndeadline = \"1 h\""));
    let host = Host::new(&guest, "", &tables).await.with_bars(&["A"]);
    names(&host.run().await.unwrap_err(), "input", "4 KiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_host_calls_take_end_the_call() {
    let log = |bytes: &[u32]| {
        let calls: String = bytes
            .iter()
            .map(|n| format!("(call $log (i32.const 1) (i32.const 1024) (i32.const {n}))"))
            .collect();
        Guest::new(text(format!("{calls} (i32.const 16)"))).imports(&[LOG])
    };
    edge(&log(&[2048]), "", "output", "\"2 KiB\"", "\"2047 B\"").await;
    edge(&log(&[1024, 1000, 24]), "", "output", "\"2 KiB\"", "\"2047 B\"").await;
    edge(&log(&[2048]), "", "reply", "\"2 KiB\"", "\"2047 B\"").await;
    edge(&log(&[2048, 2048]), "", "reply", "\"2 KiB\"", "\"2047 B\"").await;
    // So much at once that wasmtime ends it before the host sees it, and has no type to say so.
    let far = log(&[100_000]).fields("(memory (export \"memory\") 8)");
    let host = Host::new(&far, "", &limits("reply = \"1 KiB\"")).await;
    names(&host.run().await.unwrap_err(), "reply", "1 KiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_are_kept_up_to_their_bytes() {
    let body = "(call $log (i32.const 1) (i32.const 64) (i32.const 4))
        (call $log (i32.const 1) (i32.const 64) (i32.const 4))
        (call $log (i32.const 1) (i32.const 64) (i32.const 4)) (i32.const 16)";
    let fields = "(memory (export \"memory\") 2) (data (i32.const 64) \"abcd\")";
    // `info: abcd` has ten bytes.
    for (bytes, kept) in [(30, 3), (29, 2), (9, 0), (0, 0)] {
        let tables = limits(&format!("log_bytes = \"{bytes} B\""));
        let host = Host::new(&Guest::new(body).imports(&[LOG]).fields(fields), "", &tables).await;
        let log = host.run().await.unwrap().log;
        assert_eq!(log.iter().filter(|l| *l == "info: abcd").count(), kept, "{bytes}: {log:?}");
        assert_eq!(log.len(), if kept == 3 { 3 } else { kept + 1 }, "{bytes}: {log:?}");
        if kept < 3 {
            let last = log.last().unwrap();
            assert!(
                last.contains(&format!("{} more", 3 - kept)) && last.contains("limits.log_bytes = "),
                "{last}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn gauges_beyond_their_number_are_refused_and_the_call_goes_on() {
    // The second name is one too many; the first can still be set.
    let set = |at: u32, refused: bool| {
        let trap =
            if refused { "(i32.eqz (i32.load8_u (i32.const 32)))" } else { "(i32.load8_u (i32.const 32))" };
        format!(
            "(call $gauge (i32.const {at}) (i32.const 1) (f64.const {at}) (i32.const 32)) (if {trap} (then unreachable))"
        )
    };
    let fields = "(memory (export \"memory\") 2) (data (i32.const 64) \"ab\")";
    for (gauges, refused) in [(2, false), (1, true)] {
        let body = text(format!("{} {} {} (i32.const 16)", set(64, false), set(65, refused), set(64, false)));
        let guest = Guest::new(body).imports(&[GAUGE]).fields(fields);
        let host = Host::new(&guest, "", &limits(&format!("gauges = {gauges}"))).await;
        host.run().await.unwrap();
        assert_eq!(host.plugins.metrics().len(), gauges);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_call_uses_the_same_fuel_host_calls_and_pauses_included() {
    let body = "(local $i i32)
        (loop $l
            (call $log (i32.const 1) (i32.const 64) (i32.const 4))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $l (i32.lt_u (local.get $i) (i32.const 2000))))
        (local.set $i (i32.const 0))
        (loop $l
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $l (i32.lt_u (local.get $i) (i32.const 20000000))))
        (i32.const 16)";
    let guest = Guest::new(body).imports(&[LOG]);
    let host = Host::new(&guest, "", &limits("log_lines = 0\nfuel = 1000000000\ndeadline = \"1 h\"")).await;
    let fuel = host.run().await.unwrap().fuel.unwrap();
    assert!(fuel > 20_000_000, "{fuel}");
    assert_eq!(host.run().await.unwrap().fuel, Some(fuel));
    // Exactly as much is enough. wasmtime looks at it at each turn of a loop: the last one is a few instructions before the end.
    edge(&guest, "deadline = \"1 h\"", "fuel", &fuel.to_string(), &(fuel - 20).to_string()).await;
}

/// A call whose host call blocks for as long as its budget lets it.
async fn blocked(loaded: Arc<Loaded>, layer: Arc<DataLayer>) -> Result<()> {
    let mut session = Session::open(&loaded, &layer).await?;
    let call = session.call(
        |()| 0,
        |store, _, _| {
            let call = store.data().blocking(|_, _, budget| {
                loop {
                    budget.check()?;
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
            Box::pin(async move { Ok(call.await?.map_err(|e| to_guest(&e))) })
        },
    );
    call.await
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_deadline_nothing_of_a_blocked_host_call_is_left() {
    let host = Host::new(&Guest::new(EMPTY), "", &limits("deadline = \"50 ms\"")).await;
    let loaded = host.plugins.loaded("p");
    let room = loaded.ticked.room.clone();
    let e = blocked(loaded, host.layer.clone()).await.unwrap_err();
    assert!(e.kind() == Kind::Timeout && e.message().contains("limits.deadline = 50 ms"), "{e:?}");
    until("no thread is blocked", || room.blocked.load(Ordering::SeqCst) == 0).await;
    until("its place is free", || room.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_host_call_that_nobody_waits_for_ends() {
    let host = Host::new(&Guest::new(EMPTY), "", &limits("deadline = \"1 h\"")).await;
    let loaded = host.plugins.loaded("p");
    let room = loaded.ticked.room.clone();
    let call = tokio::spawn(blocked(loaded, host.layer.clone()));
    until("it is blocked", || room.blocked.load(Ordering::SeqCst) == 1).await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    until("no thread is blocked", || room.blocked.load(Ordering::SeqCst) == 0).await;
    until("its place is free", || room.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_nobody_waits_for_gives_its_place_back() {
    let guest = Guest::new("(loop $l (br $l)) unreachable");
    let host = Host::new(&guest, "", &limits("deadline = \"1 h\"")).await;
    let (loaded, layer) = (host.plugins.loaded("p"), host.layer.clone());
    let room = loaded.ticked.room.clone();
    let call = tokio::spawn(async move {
        crate::call::plan(&loaded, &layer, Default::default(), 0, Default::default()).await.0
    });
    until("it runs", || !room.is_empty()).await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    until("its place is free", || room.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_without_room_does_not_blame_the_plugin() {
    let manifest =
        "[limits.plugins]\ninstances = 1\nwait = \"50 ms\"\n[plugins.p.on_failure]\ndisable_after = 1";
    let host = Host::new(&Guest::new(EMPTY), "", manifest).await;
    let held = Session::open(&host.plugins.loaded("p"), &host.layer).await.unwrap();
    let e = host.run().await.unwrap_err();
    assert!(e.kind() == Kind::Busy && e.message().contains("limits.plugins.instances = 1"), "{e:?}");
    assert!(e.hint_text().unwrap().contains("limits.plugins.instances"), "{e:?}");
    let status = host.plugins.list(&OP).unwrap().remove(0);
    assert!(status.enabled && status.failures == 0, "{status:?}");
    drop(held);
    host.run().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_has_as_many_bytes_as_it_may() {
    let guest = Guest::new(EMPTY);
    let size = guest.build().len();
    let of = |bytes: usize| format!("[limits.plugins]\ncomponent_max = \"{bytes} B\"");
    Host::new(&guest, "", &of(size)).await.run().await.unwrap();
    let host = Host::new(&guest, "", &of(size - 1)).await;
    let e = host.run().await.unwrap_err();
    assert!(e.message().contains(&format!("limits.plugins.component_max = {} B", size - 1)), "{e:?}");
}

/// Guests that never come back, more of them than there are threads: those that serve are not held up.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn endless_guests_leave_the_threads_to_those_who_serve() {
    let guest = Guest::new("(loop $l (br $l)) unreachable");
    let host = Host::new(&guest, "", &limits("deadline = \"1 h\"\nconcurrency = 8")).await;
    let (loaded, layer) = (host.plugins.loaded("p"), host.layer.clone());
    let calls: Vec<_> = (0..8)
        .map(|_| {
            let (loaded, layer) = (loaded.clone(), layer.clone());
            tokio::spawn(async move {
                drop(crate::call::plan(&loaded, &layer, Default::default(), 0, Default::default()).await)
            })
        })
        .collect();
    let room = loaded.ticked.room.clone();
    until("they all go on apart", || room.apart() == 8).await;
    assert!(calls.iter().all(|c| !c.is_finished()));
    calls.iter().for_each(tokio::task::JoinHandle::abort);
    until("nothing is left", || room.is_empty() && room.apart() == 0).await;
}
