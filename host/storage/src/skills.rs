//! Skills: immutable versions, dependencies, performance, full-text discovery.

mod resolve;
mod search;
mod store;
mod types;

#[cfg(test)]
mod tests;

pub use resolve::Resolved;
pub use search::{ScoreParts, SkillHit, SkillQuery};
pub use semver::Version;
pub use store::Skills;
pub use types::{NewVersion, Performance, PerformanceRecord, SkillFilter, SkillSummary, SkillVersion};
