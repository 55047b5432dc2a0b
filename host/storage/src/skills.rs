//! Skills: immutable versions, dependencies, performance, and discovery by full text and by what indexers say.

mod index;
mod point;
mod resolve;
mod search;
mod store;
mod types;
mod vectors;

#[cfg(test)]
mod tests;

pub(crate) use index::Contribution;
pub use index::{
    DIMENSIONS_MAX, EXPANSION_TERMS_MAX, Expansion, INDEX_TAGS_MAX, IndexEntry, Reindexed, SkillIndexer,
    TERM_BYTES_MAX, TERMS_MAX,
};
pub use resolve::Resolved;
pub use search::{ScoreParts, SkillHit, SkillQuery};
pub use semver::Version;
pub use store::Skills;
pub use types::{NewVersion, Performance, PerformanceRecord, SkillFilter, SkillSummary, SkillVersion};
