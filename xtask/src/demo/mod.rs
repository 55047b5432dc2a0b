//! `cargo xtask run`: the main job, end to end, through the binary and its public write path.

mod feed;
mod host;

use crate::{guests, steps, target};
use anyhow::{Context, Result, bail};
use host::{Cli, Serving};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

pub struct Options {
    pub exit: bool,
    pub bars: usize,
}

/// What the summary says of one stream.
struct Fed {
    name: &'static str,
    rows: usize,
    took: Duration,
}

pub fn run(root: &Path, options: &Options) -> Result<()> {
    steps::say("Building the plugins (Rust to WebAssembly components)");
    guests::build_guests(root)?;
    steps::say("Building the host (release; the first time takes some minutes)");
    steps::must(steps::cargo(root).args(["build", "--release", "--package", "shiphold"]))?;

    let folder = root.join("target/demo");
    let cli = Cli::new(target(root).join("release/shiphold"), root.join("examples/trader/shiphold.toml"));
    empty(&cli, &folder)?;

    steps::say("Checking the manifest");
    cli.show(&["check"])?;
    steps::say("Starting the host on an empty data folder");
    let mut serving = Serving::start(&cli, &folder)?;
    let token = cli.json(&["tokens", "create", "demo-feed", "--scope", "write"])?;
    let token =
        token.get("token").and_then(Value::as_str).context("`tokens create` gave no token")?.to_string();

    steps::say("Importing twenty years of real daily bars of two indices");
    for (symbol, file) in [("SPX", "sp500.csv"), ("IXIC", "nasdaq.csv")] {
        let path = root.join("examples/trader/data").join(file);
        cli.show(&["series", "import", &text(&path)?, "--symbol", symbol, "--timeframe", "1d"])?;
    }

    steps::say(
        "Feeding a simulated session as line protocol over HTTP, each batch durable when it is acknowledged",
    );
    let mut fed = Vec::new();
    for stream in feed::session(options.bars) {
        fed.push(serving.feed(&token, &stream)?);
    }

    steps::say("Storing skills with versions and dependencies, and searching them");
    skills(&cli, root)?;
    steps::say("Storing a model artifact");
    model(&cli, &folder)?;
    steps::say("A strategy saves what it goes on from when it starts again, small and large");
    state(&cli, &folder)?;

    steps::say(
        "The trading record: from a signal to an order, its fills, a position and the performance of the skill",
    );
    trades(&cli, &folder)?;

    steps::say("Queries that a plugin offers by their own names");
    cli.show(&["queries", "list"])?;
    cli.show(&["queries", "run", "vwap", "symbol=AAPL", "every=4 h"])?;
    cli.show(&["queries", "run", "rolling-volatility", "symbol=SPX", "start=2018-12-10"])?;

    steps::say("The retention plugin: first dry, then for real");
    cli.show(&["plugins", "run", "retention", "--dry-run"])?;
    cli.show(&["plugins", "run", "retention"])?;
    steps::say("Compacting");
    cli.show(&["series", "compact"])?;

    steps::say("A backup target: everything at one instant, encrypted, into the store of a plugin");
    cli.show(&["backup", "push", "nightly"])?;
    cli.show(&["backup", "verify", "nightly", "--read-data"])?;
    cli.show(&["plugins", "grants", "folder-target"])?;

    steps::say("Backup, restore into a new folder, and comparison");
    let agreed = backup(&cli, root, &folder)?;

    summary(&cli, &folder, &fed, agreed)?;
    if options.exit {
        return serving.stop();
    }
    println!(
        "\nThe host goes on serving on {}. Try, in another terminal:\n\n    alias shiphold='{} --manifest examples/trader/shiphold.toml'\n\
         \n    shiphold series query --measurement bar.1d.SPX --start 2008-09-01 --end 2008-11-01 --limit 20\
         \n    shiphold series latest --measurement 'bar.1m.*'\n    shiphold skills search 'buy the dip'\
         \n    shiphold queries run session-bars symbol=AAPL\
         \n    shiphold audit list\n    shiphold plugins runs retention\
         \n    curl -H 'Authorization: Bearer {token}' {}/metrics\n\nCtrl-C stops it.",
        serving.url,
        shorter(root, &cli.binary),
        serving.url
    );
    serving.wait()
}

/// An empty data folder: what an earlier run left is removed, unless a host still runs on it.
fn empty(cli: &Cli, folder: &Path) -> Result<()> {
    if host::alive(host::URL) {
        bail!(
            "something answers on {} already: stop it (an earlier `cargo xtask run`?), then run this again",
            host::URL
        );
    }
    match std::fs::remove_dir_all(folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            return Err(e).with_context(|| format!("emptying {}", folder.display()));
        }
        _ => {}
    }
    std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    if !cli.binary.is_file() {
        bail!("{} was not built", cli.binary.display());
    }
    Ok(())
}

fn skills(cli: &Cli, root: &Path) -> Result<()> {
    let library = root.join("examples/trader/skills");
    let list =
        std::fs::read_to_string(library.join("skills.json")).context("examples/trader/skills/skills.json")?;
    let list: Value = serde_json::from_str(&list).context("examples/trader/skills/skills.json")?;
    for skill in list.as_array().context("skills.json is no list")? {
        let field = |key: &str| skill.get(key).and_then(Value::as_str).unwrap_or_default().to_string();
        let code = text(&library.join(field("code")))?;
        let mut args = vec!["skills".into(), "put".into(), field("name"), "--code".into(), code];
        for key in ["language", "description", "version"] {
            if !field(key).is_empty() {
                args.extend([format!("--{key}"), field(key)]);
            }
        }
        for (flag, key) in [("--tag", "tags"), ("--depends", "depends")] {
            for value in
                skill.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
            {
                args.extend([flag.into(), value.into()]);
            }
        }
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        cli.show(&args)?;
    }
    cli.show(&["skills", "search", "buying dips in an uptrend"])?;
    // The indexer knows what it means; no word of it stands in any skill.
    cli.show(&["skills", "search", "retracement entries"])?;
    cli.show(&["skills", "search", "momentm breakout"])?;
    cli.show(&["skills", "resolve", "pullback"])
}

fn model(cli: &Cli, folder: &Path) -> Result<()> {
    // Stands for weights: two megabytes that do not compress.
    let mut state = 1_u64;
    let bytes: Vec<u8> = (0..2_000_000)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .collect();
    let file = folder.join("weights.bin");
    std::fs::write(&file, bytes).with_context(|| format!("writing {}", file.display()))?;
    cli.show(&["files", "put", "models", "momentum/2026-06-26/weights.bin", &text(&file)?])?;
    cli.show(&["files", "list", "models"])
}

/// Two checkpoints of a strategy, each over the one before, and the newest as a strategy asks for it.
fn state(cli: &Cli, folder: &Path) -> Result<()> {
    let (small, large) = (folder.join("state.json"), folder.join("weights.bin"));
    std::fs::write(&small, r#"{"bar":17,"position":100}"#)
        .with_context(|| format!("writing {}", small.display()))?;
    cli.show(&["state", "save", "momentum", &text(&large)?, "--expect", "absent"])?;
    cli.show(&["state", "save", "momentum", &text(&small)?, "--expect", "1"])?;
    cli.show(&["state", "load", "momentum"])?;
    println!();
    cli.show(&["state", "history", "momentum"])
}

/// An order of a skill and its fills in one batch, a part sold later, what is held then and before, and what the skill achieved by it.
fn trades(cli: &Cli, folder: &Path) -> Result<()> {
    cli.show(&["trades", "account", "open", "demo", "--currency", "USD"])?;
    let instrument = ["trades", "instrument", "add", "SPX", "--kind", "equity", "--currency", "USD"];
    cli.show(&[&instrument[..], &["--measurement", "bar.1d.SPX"]].concat())?;
    let batch = folder.join("batch.json");
    std::fs::write(&batch, BATCH).with_context(|| format!("writing {}", batch.display()))?;
    cli.show(&["trades", "record", &text(&batch)?])?;
    // Sent again, as a trader does that got no answer: nothing is recorded twice.
    cli.show(&["trades", "record", &text(&batch)?])?;
    cli.show(&["trades", "order", "demo", "o-1"])?;
    let fill = ["trades", "fill", "demo", "f-2", "SPX", "sell", "4", "2470"];
    cli.show(&[&fill[..], &["--time", "2018-12-27T15:00:00Z"]].concat())?;
    cli.show(&["trades", "positions", "demo"])?;
    cli.show(&["trades", "positions", "demo", "--at", "2018-12-26"])?;
    let of = [
        "trades",
        "performance",
        "demo",
        "pullback",
        "0.1.0",
        "--start",
        "2018-12-20",
        "--end",
        "2018-12-29",
    ];
    cli.show(&[&of[..], &["--record"]].concat())?;
    cli.show(&["skills", "believed", "pullback"])
}

/// What a trader sends of its first order.
const BATCH: &str = r#"{"account": "demo",
 "cash": [{"client_id": "c-1", "currency": "USD", "kind": "deposit", "amount": "100000", "time": "2018-12-19"}],
 "orders": [{"client_id": "o-1", "instrument": "SPX", "side": "buy", "type": "limit", "quantity": "10", "limit_price": "2420",
             "skill": "pullback", "version": "0.1.0", "signal": {"close": 2416.62, "atr": 57.3}, "time": "2018-12-21T20:59:00Z"}],
 "events": [{"order": "o-1", "state": "accepted", "time": "2018-12-21T20:59:01Z"}],
 "fills": [{"client_id": "f-1", "order": "o-1", "instrument": "SPX", "side": "buy", "quantity": "10", "price": "2416.62", "fee": "1",
            "time": "2018-12-21T20:59:30Z"}]}"#;

/// Exports, restores into a new folder, verifies it there, and compares what both hosts answer.
fn backup(cli: &Cli, root: &Path, folder: &Path) -> Result<usize> {
    let (to, restored) = (folder.join("backup"), folder.join("restored"));
    std::fs::create_dir_all(&restored).with_context(|| format!("making {}", restored.display()))?;
    cli.show(&["backup", "export", &text(&to)?])?;
    cli.show(&["backup", "restore", &text(&to)?, &text(&restored.join("data"))?])?;
    let manifest = std::fs::read_to_string(root.join("examples/trader/shiphold.toml"))
        .context("reading the manifest")?;
    let manifest = manifest
        .replace("\"../../target/demo/data\"", "\"data\"")
        .replace("../../target/guests/", &format!("{}/", text(&crate::guests_folder(root))?));
    let path = restored.join("shiphold.toml");
    std::fs::write(&path, manifest).with_context(|| format!("writing {}", path.display()))?;
    let other = Cli::new(cli.binary.clone(), path);
    other.show(&["verify"])?;
    let mut compared = 0;
    for question in [
        &["series", "list"][..],
        &["series", "latest"],
        &["series", "query", "--measurement", "bar.1d.SPX", "--resample", "1w"],
        &["series", "query", "--measurement", "bar.1h.AAPL"],
        &["skills", "list"],
        &["files", "list", "models"],
        &["settings", "list", "system"],
        &["state", "history", "momentum"],
        &["trades", "positions", "demo"],
    ] {
        let (here, there) = (cli.json(question)?, other.json(question)?);
        if here != there {
            bail!("the restored host answers `{}` differently:\n{here}\n{there}", question.join(" "));
        }
        compared += 1;
    }
    println!("{compared} questions answered alike by the host and by the restored copy");
    Ok(compared)
}

fn summary(cli: &Cli, folder: &Path, fed: &[Fed], agreed: usize) -> Result<()> {
    let stats = cli.json(&["series", "stats"])?;
    let number = |key: &str| stats.get(key).and_then(Value::as_u64).unwrap_or_default();
    let rows = number("rows");
    let bytes = std::fs::metadata(folder.join("data/series.db")).map_or(0, |m| m.len());
    println!("\n\x1b[1mSummary\x1b[0m");
    println!("{:<24} {:>10} {:>14}", "fed over HTTP", "rows", "rows a second");
    for f in fed {
        println!("{:<24} {:>10} {:>14.0}", f.name, f.rows, f.rows as f64 / f.took.as_secs_f64().max(1e-9));
    }
    println!("{:<24} {:>10}", "stored after retention", rows);
    println!("{:<24} {:>10}", "series", number("series"));
    println!(
        "{:<24} {:>10.2}  ({:.1} MB in series.db)",
        "bytes a row",
        bytes as f64 / rows.max(1) as f64,
        bytes as f64 / 1e6
    );
    println!("{:<24} {:>10}", "backup", format!("restored; {agreed} answers agree"));
    Ok(())
}

fn text(path: &Path) -> Result<String> {
    path.to_str().map(str::to_string).with_context(|| format!("{} is not UTF-8", path.display()))
}

fn shorter(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).map_or_else(|_| path.display().to_string(), |p| format!("./{}", p.display()))
}
