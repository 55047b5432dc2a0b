//! Skills: immutable versions with where they come from, statuses, dependencies, performance, and discovery by full text and by what
//! indexers say.

mod diff;
mod discovery;
mod index;
pub mod library;
mod performance;
mod point;
mod provenance;
mod rebuild;
mod resolve;
mod search;
mod status;
mod store;
mod types;
mod versions;
mod voyager;

#[cfg(test)]
mod tests;

pub use diff::{CONTEXT_DEFAULT, CONTEXT_MAX, FieldChange, SkillDiff};
pub(crate) use index::Contribution;
pub use index::{
    DIMENSIONS_MAX, EXPANSION_TERMS_MAX, Expansion, INDEX_TAGS_MAX, IndexEntry, Reindexed, SkillIndexer,
    TERM_BYTES_MAX, TERMS_MAX,
};
pub use performance::{Aggregate, Belief, PerformanceFilter, VersionBelief};
pub use provenance::{
    AUTHOR_BYTES_MAX, Ancestor, LINEAGE_DEFAULT, LINEAGE_MAX, NewProvenance, PROMPT_BYTES_MAX, Parent,
    Provenance, RUN_BYTES_MAX, SkillName,
};
pub use resolve::{PassedOver, RESOLVED_MAX, Requirement, Resolved};
pub use search::{
    Facet, FacetValue, Facets, Proof, ReadAs, Reason, ScoreParts, SkillAnswer, SkillHit, SkillQuery,
    WidenedBy,
};
pub use semver::{Version, VersionReq};
pub use status::{REASON_BYTES_MAX, Status, StatusChange};
pub use store::Skills;
pub use types::{
    NewVersion, Performance, PerformanceRecord, SkillFilter, SkillSummary, SkillVersion, VersionFilter,
    VersionSummary,
};
pub use versions::ANSWER_BYTES_MAX;
pub use voyager::{VOYAGER_BYTES_MAX, VOYAGER_SKILLS_MAX, VoyagerOptions};
