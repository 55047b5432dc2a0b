//! Hostile components, a table of them for each theme. Each fails alone and in words that name the cause; the host's data, the
//! honest plugins beside it and the places of the pool are as they were; and all of them at once change nothing about that.

mod answers;
mod commits;
mod files;
mod grants;
mod handles;
mod indexers;
mod memory;
mod queries;
mod targets;
mod time;
mod trades;

use super::guest::Wat;
use super::{OP, until};
use crate::compile::Compiler;
use crate::{Plugins, RunOptions};
use serde_json::Map;
use shiphold_storage::series::{Budget, Column, Frame, Selector, SeriesKey, WriteBatch};
use shiphold_storage::trades::{Account, InstrumentKind, ListFilter, NewInstrument, Number};
use shiphold_storage::{DataLayer, Error, Kind, Manifest, Result};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

/// How a hostile component ends.
#[derive(Debug, Clone)]
pub(super) enum End {
    /// It is not loaded; the reason holds the words.
    Refused(&'static [&'static str]),
    /// Its call fails, with one of these kinds and all the words.
    Fails(Kind, &'static [&'static str]),
    /// What it tries comes to nothing: the call ends well.
    Harmless,
}

pub(super) struct Beast {
    pub name: &'static str,
    pub world: &'static str,
    pub file: Vec<u8>,
    /// Its tables in the manifest, `@` for `plugins.NAME`.
    pub tables: String,
    pub end: End,
}

impl Beast {
    pub(super) fn of(name: &'static str, wat: &Wat, end: End) -> Self {
        Self { name, world: wat.world, file: wat.build(), tables: String::new(), end }
    }

    /// A file as it is, in the place of a retention policy.
    pub(super) fn file(name: &'static str, file: Vec<u8>, end: End) -> Self {
        Self { name, world: "retention-policy", file, tables: String::new(), end }
    }

    pub(super) fn with(mut self, tables: &str) -> Self {
        self.tables = tables.into();
        self
    }
}

/// A deadline that a beast reaches soon and an honest call does not.
pub(super) const SOON: &str = "[@.limits]\ndeadline = \"100 ms\"\n";
pub(super) const READS: &str = "[@.grants.series]\nread = [\"market/*\"]\n";
/// What a guest that reads series asks for.
pub(super) const ASKS_SERIES: &str = "[grants.series]\nread = [\"*/*\"]\nwrite = [\"*/*\"]\ndrop = [\"*/*\"]";

/// The names of the whole zoo.
fn all() -> Vec<Beast> {
    let mut all = Vec::new();
    for theme in [
        time::beasts,
        memory::beasts,
        handles::beasts,
        answers::beasts,
        grants::beasts,
        commits::beasts,
        trades::beasts,
        files::beasts,
        queries::beasts,
        indexers::beasts,
        targets::beasts,
    ] {
        all.extend(theme());
    }
    all
}

#[test]
fn the_zoo_has_its_animals() {
    let all = all();
    let names: BTreeSet<&str> = all.iter().map(|b| b.name).collect();
    let mut seen = BTreeSet::new();
    let twice: Vec<&str> = all.iter().map(|b| b.name).filter(|n| !seen.insert(*n)).collect();
    assert!(twice.is_empty(), "each has a name of its own: {twice:?}");
    assert!(names.len() >= 250, "{}", names.len());
}

/// Little-endian words as the text of a data segment.
pub(super) fn words(words: &[u32]) -> String {
    let mut out = String::from("\"");
    for byte in words.iter().flat_map(|w| w.to_le_bytes()) {
        write!(out, "\\{byte:02x}").unwrap();
    }
    out + "\""
}

/// The plan at 16 has so many actions, which begin at 1024.
pub(super) fn plan_of(count: u32) -> String {
    format!("(data (i32.const 16) {})", words(&[0, 1024, count, 0]))
}

/// An empty plan.
pub(super) const EMPTY: &str = "(i32.const 16)";

/// A query builder with the one query `NAME`, which transforms if it is told to.
pub(super) fn builder(name: &str, build: &str, transform: &str) -> Wat {
    let about = "[grants.series]\nread = [\"*/*\"]";
    let transforms = u32::from(!transform.is_empty());
    let fields = format!(
        "(memory (export \"memory\") 20)
         (data (i32.const 64) \"{name}\")
         (data (i32.const 128) {})
         (data (i32.const 160) {})
         (data (i32.const 176) {})
         (data (i32.const 512) {AST:?})",
        words(&[64, u32::try_from(name.len()).unwrap(), 0, 0, 0, 0, transforms]),
        words(&[0, 128, 1]),
        words(&[0, 512, u32::try_from(AST.len()).unwrap()]),
    );
    Wat::new("query-builder")
        .about(about)
        .fields(fields)
        .function("describe", "", "(i32.const 160)")
        .function("build", "(param i32 i32 i32 i32)", build)
        .function(
            "transform",
            "(param $name i32) (param i32) (param $params i32) (param i32) (param $times i32) (param $rows i32)
             (param $columns i32) (param $width i32) (param $last i32)",
            if transform.is_empty() { "unreachable" } else { transform },
        )
}

/// What a builder asks for, at 512 of its memory.
const AST: &str = "{\"bucket\":\"market\",\"measurement\":\"bar.1d.A\"}";
/// The address of that query.
pub(super) const BUILT: &str = "(i32.const 176)";
/// Gives the batch back as it came.
pub(super) const SAME: &str = "(i32.store (i32.const 196) (local.get $times)) (i32.store (i32.const 200) (local.get $rows))
    (i32.store (i32.const 204) (local.get $columns)) (i32.store (i32.const 208) (local.get $width)) (i32.const 192)";

/// A skill indexer; parameters of `index` are the name, version, language, code and so on of the skill.
pub(super) fn indexer(index: &str, expand: &str) -> Wat {
    let params = "(param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)";
    Wat::new("skill-indexer")
        .fields("(memory (export \"memory\") 80) (data (i32.const 64) \"gibberish\")")
        .function("index", params, index)
        .function("expand", "(param i32 i32)", expand)
}

/// Rows of the one series of a zoo.
const ROWS: usize = 2;

/// A share in dollars, of any quantity and price.
fn share(name: &str) -> NewInstrument {
    NewInstrument {
        name: name.into(),
        kind: InstrumentKind::Equity,
        currency: "USD".into(),
        multiplier: Number::ONE,
        tick: Number::ZERO,
        lot: Number::ZERO,
        bucket: None,
        measurement: None,
    }
}

/// A host with hostile plugins, and an honest one of each world that runs by itself.
struct Zoo {
    _dir: tempfile::TempDir,
    layer: Arc<DataLayer>,
    plugins: Arc<Plugins>,
}

/// Puts the components into a folder, with a manifest that names them.
fn manifest(dir: &Path, beasts: &[Beast]) -> Manifest {
    let put = |name: &str, file: &[u8]| std::fs::write(dir.join(format!("{name}.wasm")), file).unwrap();
    put("honest", &Wat::policy(EMPTY).build());
    put("asker", &builder("rows", BUILT, SAME).build());
    let mut text = String::from(
        "[disk]\nreserve = \"0 B\"\nwarn_below = \"2 MiB\"\nread_only_below = \"1 MiB\"\n\
         [files.attic]\nkind = \"models\"\n\
         [files.vault]\nkind = \"models\"\n\
         [secrets.own]\nenv = \"HOME\"\n[secrets.repository]\nenv = \"PATH\"\n\
         [plugins.honest]\ncomponent = \"honest.wasm\"\nworld = \"retention-policy\"\n\
         [plugins.asker]\ncomponent = \"asker.wasm\"\nworld = \"query-builder\"\n\
         [plugins.asker.grants.series]\nread = [\"market/*\"]\n",
    );
    for Beast { name, world, tables, file, .. } in beasts {
        put(name, file);
        let tables = tables.replace('@', &format!("plugins.{name}"));
        write!(text, "[plugins.{name}]\ncomponent = \"{name}.wasm\"\nworld = \"{world}\"\n{tables}\n")
            .unwrap();
    }
    Manifest::parse(&text, &dir.join("shiphold.toml")).unwrap_or_else(|e| panic!("{e}"))
}

impl Zoo {
    async fn open(beasts: &[Beast]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let layer = DataLayer::open(&manifest(dir.path(), beasts)).unwrap();
        let key = SeriesKey::new("market", "bar.1d.A", Vec::new()).unwrap();
        let frame = Frame {
            times: vec![0, 86_400_000_000_000],
            columns: vec![Column::float("close", vec![1.0, 2.0])],
        };
        layer.series().write(&OP, WriteBatch { series: vec![(key, frame)] }).unwrap();
        for name in ["main", "own-1", "own-2"] {
            let account = Account { name: name.into(), currency: "USD".into(), broker: None };
            layer.trades().open_account(&OP, &account).unwrap();
        }
        layer.trades().add_instrument(&OP, &share("A")).unwrap();
        let plugins = Plugins::load_with(layer.clone(), &Compiler::InProcess).await.unwrap();
        Self { _dir: dir, layer, plugins }
    }

    /// Asks a plugin once, the way of its world.
    async fn provoke(&self, name: &str, world: &str) -> Result<String> {
        if world == "query-builder" {
            let asked = self.plugins.ask(&OP, Some(name), "q", &Map::new(), &Budget::default()).await;
            return asked.map(|table| format!("{} rows", table.frame.len()));
        }
        if world == "backup-target" {
            let target = self.plugins.target(&OP, name).await?;
            return crate::run::blocking(move || target.stat("config").map(|found| format!("{found:?}")))
                .await;
        }
        let options = RunOptions { trigger: "operator".into(), ..RunOptions::default() };
        self.plugins.run(&OP, name, options).await.map(|report| format!("{report:?}"))
    }

    /// An honest query and an honest run answer as ever, and no row is gone or new.
    async fn is_well(&self, after: &str) {
        let rows = self.plugins.ask(&OP, Some("asker"), "rows", &Map::new(), &Budget::default()).await;
        assert_eq!(
            rows.unwrap_or_else(|e| panic!("after {after}: {e:?}")).frame.len(),
            ROWS,
            "after {after}"
        );
        let run = self.provoke("honest", "retention-policy").await;
        assert!(run.is_ok(), "after {after}: {run:?}");
        let all = self.layer.series().list(&OP, &Selector::default()).unwrap();
        assert!(all.len() == 1 && all[0].rows == ROWS as u64, "after {after}: {all:?}");
        for account in ["main", "own-2"] {
            let filter = ListFilter { account: account.into(), ..ListFilter::default() };
            let fills = self.layer.trades().fills(&OP, &filter).unwrap();
            assert!(fills.is_empty(), "after {after}: {fills:?}");
        }
    }

    /// Files beside the data that no compilation may leave.
    fn litter(&self) -> Vec<String> {
        let cache = crate::compile::folder(&self.layer.manifest().host.data);
        let names = std::fs::read_dir(cache).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        names.filter(|n| !n.ends_with(".cwasm") && !n.ends_with(".sha256")).collect()
    }
}

/// What is wrong about the way in which a beast ended.
fn judge(beast: &Beast, said: Result<String>, crowded: bool) -> std::result::Result<(), String> {
    let name = beast.name;
    let e: Error = match (&beast.end, said) {
        (End::Harmless, Ok(_)) => return Ok(()),
        (_, Ok(report)) => return Err(format!("{name} ended well: {report}")),
        (_, Err(e)) => e,
    };
    let is = |good: bool, what: &str| if good { Ok(()) } else { Err(format!("{name}: {what}: {e:?}")) };
    is(!e.message().contains(['\u{1b}', '\0', '\u{202e}']), "it steers a terminal")?;
    is(e.message().len() < 64 << 10, "a long error")?;
    is(e.hint_text().is_some_and(|h| !h.is_empty()), "no next step")?;
    is(e.kind() != Kind::Internal, "a fault of the host")?;
    is(e.message().contains(name), "it is not named")?;
    // Where all run at once, one may find no room or no time.
    if crowded && matches!(e.kind(), Kind::Busy | Kind::Timeout) {
        return Ok(());
    }
    let words = match &beast.end {
        End::Harmless => return is(false, "it was to end well"),
        End::Refused(words) => {
            is(e.message().contains("is not loaded"), "it was loaded")?;
            words
        }
        End::Fails(kind, words) => {
            is(e.kind() == *kind, &format!("{kind:?} was expected"))?;
            words
        }
    };
    words.iter().try_for_each(|w| is(e.message().contains(w), &format!("no `{w}`")))
}

/// Each alone, then all at once, in one host.
async fn survive(beasts: Vec<Beast>) {
    let zoo = Arc::new(Zoo::open(&beasts).await);
    zoo.is_well("loading").await;
    let mut wrong = Vec::new();
    for beast in &beasts {
        // A builder that cannot be loaded offers no query: its status has the reason.
        let said = match status(&zoo, beast.name) {
            (false, Some(why)) if beast.world == "query-builder" => {
                Err(Error::new(Kind::Plugin, format!("plugin `{}` is not loaded: {why}", beast.name))
                    .hint("-"))
            }
            _ => zoo.provoke(beast.name, beast.world).await,
        };
        wrong.extend(judge(beast, said, false).err());
        zoo.is_well(beast.name).await;
    }
    let mut together = Vec::new();
    for beast in beasts.into_iter().filter(|b| !matches!(b.end, End::Refused(_))) {
        let zoo = zoo.clone();
        together.push(tokio::spawn(async move {
            let said = zoo.provoke(beast.name, beast.world).await;
            judge(&beast, said, true)
        }));
    }
    for _ in 0..10 {
        let rows = zoo.plugins.ask(&OP, Some("asker"), "rows", &Map::new(), &Budget::default()).await;
        assert!(rows.as_ref().map_or_else(|e| e.kind() == Kind::Busy, |t| t.frame.len() == ROWS), "{rows:?}");
    }
    for one in together {
        wrong.extend(one.await.unwrap().err());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // No place of the pool was lost: as many as there are run at once.
    let full: Vec<_> = (0..64)
        .map(|_| {
            let zoo = zoo.clone();
            tokio::spawn(async move {
                zoo.plugins.ask(&OP, Some("asker"), "rows", &Map::new(), &Budget::default()).await
            })
        })
        .collect();
    for one in full {
        assert_eq!(one.await.unwrap().unwrap().frame.len(), ROWS);
    }
    zoo.is_well("all of them").await;
    assert_eq!(zoo.litter(), Vec::<String>::new());
    let (layer, plugins) = (Arc::downgrade(&zoo.layer), Arc::downgrade(&zoo.plugins));
    drop(zoo);
    until("nothing holds the stores", || layer.strong_count() == 0 && plugins.strong_count() == 0).await;
}

/// Is it loaded, and if not, why?
fn status(zoo: &Zoo, name: &str) -> (bool, Option<String>) {
    let all = zoo.plugins.list(&OP).unwrap();
    let one = all.into_iter().find(|p| p.name == name).unwrap();
    (one.loaded, one.error)
}
