//! What all plugins together may use, through the program.

use super::{LATE, eventually, goes_on, guest, retention, runs, with_data};
use crate::support::binary;
use std::process::{Child, Command, Stdio};

/// As many as run at once by default.
const INSTANCES: usize = 16;

#[test]
fn a_host_full_of_guests_that_never_come_back_serves_and_says_that_it_is_full() {
    let loops = |i: usize| {
        let name = format!("loops{i}");
        guest(
            &name,
            "loops",
            "",
            &format!("[plugins.{name}.limits]\ndeadline = \"1 h\"\nmemory = \"2 MiB\"\n"),
        )
    };
    let manifest: String = (0..INSTANCES).map(loops).collect();
    let mut host = with_data(&(retention() + &manifest + "[limits.plugins]\nwait = \"200 ms\"\n"));
    let mut looping: Vec<Child> = (0..INSTANCES)
        .map(|i| {
            let mut run = host.command(&["plugins", "run", &format!("loops{i}")]);
            run.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        })
        .collect();
    eventually("they all run", &host, || {
        (0..INSTANCES)
            .all(|i| runs(&host, &format!("loops{i}")).first().is_some_and(|r| r["state"] == "running"))
    });
    for _ in 0..20 {
        assert_eq!(host.http("GET", "/health", None, b"").status, 200);
    }
    host.run(&["verify"]).ok();
    let full = host.run(&["plugins", "run", "retention", "--now", LATE]);
    full.fails(1, &["no room for plugin `retention`", "limits.plugins.instances = 16"]);
    let status = host.run(&["--json", "plugins", "list"]).json();
    let of = |name: &str| status.as_array().unwrap().iter().find(|p| p["name"] == name).unwrap().clone();
    assert_eq!((&of("retention")["failures"], &of("retention")["enabled"]), (&0.into(), &true.into()));
    // One that ends makes room: its plugin is the only thing that is stopped.
    let (_, code) = host.signal("TERM");
    assert_eq!(code, Some(0), "{}", host.log());
    for run in &mut looping {
        run.wait().unwrap();
    }
    host.serve();
    goes_on(&host, "sixteen that never came back");
}

/// The host holds the standard input of the child that compiles: whichever way the host ends, that is closed by the kernel.
#[test]
fn a_child_that_compiles_ends_with_its_host() {
    let dir = tempfile::tempdir().unwrap();
    let (input, output) = (dir.path().join("in.wasm"), dir.path().join("out.plain.cwasm"));
    // A component that never comes: the child waits for it for ever.
    assert!(Command::new("mkfifo").arg(&input).status().unwrap().success());
    let mut compile = binary();
    compile.args(["plugins", "compile"]).arg(&input).arg(&output).args(["--seconds", "3600"]);
    let mut child = compile.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    assert!(child.try_wait().unwrap().is_none());
    drop(child.stdin.take());
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert!(!output.exists());
}
