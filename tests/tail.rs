//! Listening to series through the command line, while a trader writes.

use crate::support::{Host, Said};
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

struct Tail {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Tail {
    fn open(host: &Host, args: &[&str]) -> Self {
        let mut child = host.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    fn line(&mut self) -> String {
        self.lines.next().expect("the tail goes on").unwrap()
    }

    /// How it ended.
    fn end(self) -> Said {
        self.child.wait_with_output().unwrap().into()
    }
}

#[test]
fn a_trader_writes_and_an_operator_sees_it() {
    let mut host = Host::new();
    host.run(&["series", "tail", "bar.*"]).fails(1, &["no host runs", "shiphold serve"]);
    host.serve();
    let token = host.token("feed", "write");
    let bar = |symbol: &str, close: f64, time: i64| {
        let line = format!("bar,symbol={symbol},timeframe=1m close={close} {time}");
        assert_eq!(host.write_lines(&token, "market", &line).status, 204);
    };
    bar("A", 1.0, 60);
    bar("A", 2.0, 120);
    let mut tail = Tail::open(&host, &["series", "tail", "bar.1m.*", "--from", "1970-01-01T00:02:00Z"]);
    assert_eq!(tail.line(), "1970-01-01T00:02:00Z bar.1m.A close=2.0");
    // What was there came first, so it listens.
    bar("B", 3.5, 180);
    assert_eq!(tail.line(), "1970-01-01T00:03:00Z bar.1m.B close=3.5");
    bar("A", 1.5, 60);
    assert_eq!(tail.line(), "1970-01-01T00:01:00Z bar.1m.A close=1.5");
    let kill = std::process::Command::new("kill").arg("-INT").arg(tail.child.id().to_string()).status();
    assert!(kill.unwrap().success());
    let said = tail.end();
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");

    // The end of the host ends it too, and it says why.
    let mut tail = Tail::open(&host, &["--json", "series", "tail", "*", "--from", "0"]);
    assert!(
        tail.line().starts_with("{\"row\":{\"key\":{\"bucket\":\"market\",\"measurement\":\"bar.1m.A\"}")
    );
    let (_, code) = host.signal("TERM");
    assert_eq!(code, Some(0), "{}", host.log());
    tail.end().fails(1, &["the host ends"]);
}
