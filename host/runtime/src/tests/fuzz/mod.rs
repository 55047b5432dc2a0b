//! Components that nobody wrote: valid ones with something changed, and random core modules wrapped for a world, loaded and
//! called through the real runtime. Every case has a seed of its own; a failure prints it, and `cargo xtask fuzz --seed` begins
//! with it.
//!
//! A few seconds run with the other tests, compiled in this process, where a panic is caught and is a failure. `cargo xtask fuzz`
//! runs for longer and compiles in a child, as a host does: a crash of the compiler is the child's, and told with its seed.

mod mutate;
mod smith;

use super::OP;
use super::guest::{Wat, described};
use super::zoo::{BUILT, EMPTY, SAME, builder, indexer};
use crate::call;
use crate::compile::{Compiler, folder};
use crate::component::{Loaded, load};
use crate::engine::Engines;
use crate::host::retention::from_guest;
use crate::indexer::GuestIndexer;
use crate::queries;
use crate::run::blocking;
use mutate::Random;
use serde_json::{Map, json};
use shiphold_storage::manifest::World;
use shiphold_storage::series::{Column, Frame, SeriesKey, WriteBatch};
use shiphold_storage::skills::{SkillIndexer, SkillVersion, Version};
use shiphold_storage::{Caller, DataLayer, Error, Kind, Manifest, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long it goes on, and where it begins, unless the environment says otherwise.
const SECONDS: u64 = 10;
const SEED: u64 = 20_260_626;
/// Cases between two looks at an honest plugin.
const BATCH: u64 = 20;
/// No case can take so long: each of its calls ends at its deadline, and a compilation at its own.
const HANGS: Duration = Duration::from_secs(120);

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|e| panic!("{name}={text}: {e}")))
}

/// A component that others are made from.
struct Seedling {
    world: World,
    file: Vec<u8>,
    config: &'static str,
}

/// Valid components of each world: the small ones, and the built guests where there are any.
fn nursery() -> Vec<Seedling> {
    let small = |world, wat: &Wat| Seedling { world, file: wat.build(), config: "" };
    let mut all = vec![
        small(World::RetentionPolicy, &Wat::policy(EMPTY)),
        small(World::QueryBuilder, &builder("q", BUILT, SAME)),
        small(World::SkillIndexer, &indexer("(i32.const 160)", "(i32.const 16)")),
    ];
    let Some(guests) = std::env::var_os("SHIPHOLD_GUESTS").map(PathBuf::from) else { return all };
    for (name, world, config) in [
        ("traps", World::RetentionPolicy, ""),
        ("writer", World::RetentionPolicy, ""),
        (
            "retention",
            World::RetentionPolicy,
            "tick_days = 2\nbar_1m_days = 90\nbook_days = 3\nrollups = [\"1h\"]",
        ),
        ("babbles", World::SkillIndexer, ""),
        ("finance-index", World::SkillIndexer, ""),
        ("askew", World::QueryBuilder, ""),
    ] {
        let file =
            std::fs::read(guests.join(format!("{name}.wasm"))).unwrap_or_else(|e| panic!("{name}: {e}"));
        all.push(Seedling { world, file, config });
    }
    all
}

/// A host that meets one component after the other.
struct Ground {
    dir: tempfile::TempDir,
    layer: Arc<DataLayer>,
    engines: Arc<Engines>,
    compiler: Compiler,
    honest: Arc<Loaded>,
}

fn manifest(dir: &Path, world: World, config: &str) -> Manifest {
    let grants = match world {
        World::RetentionPolicy => {
            "clock = true\nrandom = true\n[plugins.p.grants.series]\nread = [\"market/*\"]\nwrite = [\"market/*\"]\n"
        }
        World::QueryBuilder => "[plugins.p.grants.series]\nread = [\"market/*\"]\n",
        World::SkillIndexer | World::BackupTarget => "",
    };
    let text = format!(
        "[disk]\nreserve = \"0 B\"\nwarn_below = \"2 MiB\"\nread_only_below = \"1 MiB\"\n\
         [plugins.p]\ncomponent = \"p.wasm\"\nworld = \"{}\"\n\
         [plugins.p.limits]\ndeadline = \"50 ms\"\nmemory = \"16 MiB\"\nreply = \"1 MiB\"\nlog_lines = 10\n\
         [plugins.p.grants]\n{grants}\n[plugins.p.config]\n{config}\n",
        world.name()
    );
    Manifest::parse(&text, &dir.join("shiphold.toml")).unwrap_or_else(|e| panic!("{e}"))
}

impl Ground {
    async fn new(compiler: Compiler) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("p.wasm"), Wat::policy(EMPTY).build()).unwrap();
        let manifest = manifest(dir.path(), World::RetentionPolicy, "");
        let layer = DataLayer::open(&manifest).unwrap();
        let key = SeriesKey::new("market", "bar.1d.A", Vec::new()).unwrap();
        let frame = Frame { times: vec![0, 1], columns: vec![Column::float("close", vec![1.0, 2.0])] };
        layer.series().write(&OP, WriteBatch { series: vec![(key, frame)] }).unwrap();
        let engines = Arc::new(Engines::new(&manifest.limits.plugins));
        let cache = folder(&manifest.host.data);
        let honest = load(&engines, &manifest.plugins["p"], &cache, &compiler).await.unwrap();
        Self { dir, layer, engines, compiler, honest: Arc::new(honest) }
    }

    /// Loads a component and asks it everything that its world is asked; the errors that came of it.
    async fn meet(self: Arc<Self>, world: World, config: &'static str, file: Vec<u8>) -> Vec<Error> {
        std::fs::write(self.dir.path().join("p.wasm"), &file).unwrap();
        let manifest = manifest(self.dir.path(), world, config);
        let plugin = &manifest.plugins["p"];
        let loaded = match load(&self.engines, plugin, &folder(&manifest.host.data), &self.compiler).await {
            Ok(loaded) => Arc::new(loaded),
            Err(e) => return vec![e],
        };
        let code = loaded.code.clone();
        let errors = self.ask(world, loaded).await;
        // The cache keeps what was compiled: here nothing comes twice.
        let _ = std::fs::remove_file(code.with_extension("sha256"));
        let _ = std::fs::remove_file(code);
        errors
    }

    async fn ask(&self, world: World, loaded: Arc<Loaded>) -> Vec<Error> {
        let mut errors = Vec::new();
        match world {
            World::RetentionPolicy => {
                let caller = Caller::Plugin { name: "p".into(), grants: loaded.grants.clone() };
                let summaries = Arc::new(self.layer.retention().summaries(&caller).unwrap());
                let (said, _) = call::plan(&loaded, &self.layer, summaries, 1, Default::default()).await;
                let layer = self.layer.clone();
                let checked = match said.and_then(|plan| from_guest(plan.actions)) {
                    Ok(actions) => {
                        blocking(move || layer.retention().check(&caller, actions, 1, false)).await.map(drop)
                    }
                    Err(e) => Err(e),
                };
                errors.extend(checked.err());
            }
            World::QueryBuilder => match queries::describe(&loaded, &self.layer).await {
                Ok(described) => {
                    for query in described.iter().take(4) {
                        for params in [json!({}), json!({ "symbol": "A" })] {
                            let params: Map<_, _> = params.as_object().cloned().unwrap();
                            let asked = queries::ask_whole(&loaded, &self.layer, query, &params).await;
                            errors.extend(asked.err());
                        }
                    }
                }
                Err(e) => errors.push(e),
            },
            World::SkillIndexer => {
                let indexer = GuestIndexer::new(loaded, &self.layer, true, Arc::default());
                errors = blocking(move || {
                    let index = indexer.index(&skill()).map(drop);
                    Ok(index.err().into_iter().chain(indexer.expand("a question").err()).collect())
                })
                .await
                .unwrap();
            }
            World::BackupTarget => {}
        }
        errors
    }

    async fn is_well(&self) -> Result<()> {
        let (plan, _) = call::plan(&self.honest, &self.layer, Arc::default(), 0, Default::default()).await;
        plan.map(drop)
    }
}

fn skill() -> SkillVersion {
    SkillVersion {
        name: "a".into(),
        version: Version::new(1, 0, 0),
        current: true,
        hash: String::new(),
        language: "python".into(),
        code: "pass".into(),
        description: "buys dips".into(),
        tags: vec!["trend".into()],
        metadata: json!({}),
        depends: std::collections::BTreeMap::new(),
        status: Default::default(),
        provenance: Default::default(),
        created_at: 0,
        created_by: "t".into(),
    }
}

/// The component of a seed.
fn component(seed: u64, nursery: &[Seedling], small: bool) -> (World, &'static str, Vec<u8>) {
    let mut random = Random::new(seed);
    if random.below(3) == 0 {
        let world = [World::RetentionPolicy, World::QueryBuilder, World::SkillIndexer][random.below(3)];
        return (world, "", smith::component(world, &mut random));
    }
    // Most of a short time goes to small ones, which compile at once.
    let among = if small && random.below(8) > 0 { nursery.len().min(5) } else { nursery.len() };
    let seedling = &nursery[random.below(among)];
    let other = &nursery[random.below(among)];
    (seedling.world, seedling.config, mutate::mutated(&mut random, &seedling.file, &other.file))
}

/// What a component may not come to, whatever it is: a fault of the host.
fn is_fault(e: &Error) -> bool {
    matches!(
        e.kind(),
        Kind::Internal
            | Kind::Io
            | Kind::Corrupt
            | Kind::Full
            | Kind::ReadOnly
            | Kind::Unauthenticated
            | Kind::Busy
    ) || e.message().contains("ended in a panic")
        || e.message().contains("the compiler ended with")
}

#[tokio::test(flavor = "multi_thread")]
async fn components_that_nobody_wrote_fail_alone() {
    let (seconds, base) = (number("SHIPHOLD_FUZZ_SECONDS", SECONDS), number("SHIPHOLD_FUZZ_SEED", SEED));
    let long = std::env::var_os("SHIPHOLD_FUZZ_COMPILER");
    let compiler = long.clone().map_or(Compiler::InProcess, |exe| Compiler::Child(exe.into()));
    let nursery = nursery();
    let ground = Arc::new(Ground::new(compiler).await);
    let end = Instant::now() + Duration::from_secs(seconds);
    let (mut cases, mut ran, mut seed) = (0_u64, 0_u64, base);
    while cases == 0 || Instant::now() < end {
        let (world, config, file) = component(seed, &nursery, long.is_none());
        let again = format!("seed {seed} (again: `cargo xtask fuzz --seconds 1 --seed {seed}`)");
        let meeting = tokio::spawn(ground.clone().meet(world, config, file));
        let errors = tokio::time::timeout(HANGS, meeting)
            .await
            .unwrap_or_else(|_| panic!("it hangs: {again}"))
            .unwrap_or_else(|e| panic!("the host panicked: {e}: {again}"));
        for e in &errors {
            assert!(!is_fault(e), "{e:?}: {again}");
            assert!(e.message().len() < 64 << 10 && !e.message().contains('\u{1b}'), "{e:?}: {again}");
        }
        ran += u64::from(!errors.iter().any(|e| e.kind() == Kind::Invalid));
        cases += 1;
        seed = seed.wrapping_add(1);
        if cases.is_multiple_of(BATCH) {
            ground.is_well().await.unwrap_or_else(|e| panic!("an honest plugin fails after {again}: {e:?}"));
            if long.is_some() && cases.is_multiple_of(BATCH * 10) {
                eprintln!("{cases} components, {ran} of them called; the next seed is {seed}");
            }
        }
    }
    ground.is_well().await.unwrap();
    println!("{cases} components, {ran} of them called");
    // Where nearly all are refused at the door, nothing behind it is tried.
    assert!(cases < 100 || ran * 10 >= cases, "only {ran} of {cases} were called");
}

#[test]
fn a_seed_makes_the_same_component_again() {
    let nursery = nursery();
    for seed in 0..20 {
        assert!(component(seed, &nursery, true).2 == component(seed, &nursery, true).2, "seed {seed}");
    }
}

/// With what its world can ask for.
fn with_grants(file: Vec<u8>, world: World) -> Vec<u8> {
    let about = match world {
        World::RetentionPolicy => {
            "[grants]\nclock = true\nrandom = true\nseries = { read = [\"*/*\"], write = [\"*/*\"] }"
        }
        World::QueryBuilder => "[grants.series]\nread = [\"*/*\"]",
        World::SkillIndexer | World::BackupTarget => "",
    };
    described(file, world.name(), about)
}
