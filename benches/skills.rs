//! Skill search at scale, beside a scan with LIKE.

use crate::machine::median_ms;
use crate::{Run, Table};
use shiphold_storage::Caller;
use shiphold_storage::skills::{NewVersion, SkillQuery, Skills};
use shiphold_storage::sqlite::{Database, Options};
use std::sync::Arc;
use std::time::Instant;

const WORDS: [&str; 48] = [
    "momentum",
    "reversion",
    "breakout",
    "pullback",
    "trend",
    "volatility",
    "spread",
    "carry",
    "pairs",
    "arbitrage",
    "gap",
    "fade",
    "scalp",
    "swing",
    "opening",
    "closing",
    "auction",
    "volume",
    "imbalance",
    "order",
    "flow",
    "range",
    "channel",
    "average",
    "true",
    "band",
    "oscillator",
    "divergence",
    "regime",
    "bull",
    "bear",
    "sideways",
    "risk",
    "parity",
    "hedge",
    "delta",
    "gamma",
    "skew",
    "earnings",
    "drift",
    "seasonal",
    "rotation",
    "sector",
    "index",
    "future",
    "option",
    "crypto",
    "currency",
];

pub fn run(run: &Run, table: &mut Table) {
    let count = run.size(100_000, 2_000);
    let dir = tempfile::tempdir().unwrap();
    let db = Arc::new(
        Database::open(
            &dir.path().join("skills.db"),
            Options::default(),
            shiphold_storage::schema::MIGRATIONS,
        )
        .unwrap(),
    );
    let skills = Skills::new(db.clone(), Arc::default());
    let mut state = 7_u64;
    let mut word = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        WORDS[(state >> 33) as usize % WORDS.len()]
    };
    let begin = Instant::now();
    for i in 0..count {
        let description = (0..12).map(|_| word()).collect::<Vec<_>>().join(" ");
        let new = NewVersion {
            name: format!("skill-{i}"),
            language: "python".into(),
            code: format!("def run(bars):\n    return {i}\n"),
            description,
            tags: vec![word().into()],
            ..NewVersion::default()
        };
        skills.put(&Caller::Operator, new).unwrap();
    }
    table.note(format!(
        "{count} skills of twelve words each, put one by one ({:.0} a second, each durable).",
        count as f64 / begin.elapsed().as_secs_f64()
    ));
    let questions = [
        "momentum breakout",
        "pullback in a bull regime",
        "volatility carry of currency",
        "hedging options",
        "sector rotations",
    ];
    let mut at = 0;
    let mut all: Vec<f64> = (0..200)
        .map(|_| {
            at += 1;
            let query = SkillQuery {
                text: questions[at % questions.len()].into(),
                limit: 10,
                ..SkillQuery::default()
            };
            let begin = Instant::now();
            assert!(!skills.search(&Caller::Operator, &query).unwrap().is_empty());
            begin.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    all.sort_by(f64::total_cmp);
    let like = median_ms(5, || {
        let n: i64 = db
            .read(|c| Ok(c.query_row("SELECT count(*) FROM skill_versions WHERE description LIKE '%momentum%' AND description LIKE '%breakout%'", [], |r| r.get(0))?))
            .unwrap();
        assert!(n > 0);
    });
    table.cost("skill search, p50", "ms", all[all.len() / 2], Some(("LIKE scan", like)), "");
    table.cost("skill search, p99", "ms", all[all.len() * 99 / 100], Some(("LIKE scan", like)), "10");
}
