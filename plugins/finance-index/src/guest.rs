//! What stands between the index and the host: WIT types in, WIT types out.

wit_bindgen::generate!({ world: "skill-indexer-plugin", path: "../../wit" });

use crate::vocabulary::Vocabulary;
use crate::{config, index};
use exports::shiphold::host::skill_indexer::{Expansion, Guest, IndexEntry, Skill};
use shiphold::host::types::Error;
use shiphold::host::{config as host_config, log};

struct FinanceIndex;

impl Guest for FinanceIndex {
    fn index(skill: Skill) -> Result<IndexEntry, Error> {
        let entry = index::index(
            &vocabulary()?,
            &index::Skill {
                name: &skill.name,
                description: &skill.description,
                tags: &skill.tags,
                code: &skill.code,
            },
        );
        if entry.tags.is_empty() {
            let name = &skill.name;
            log::write(log::Level::Info, &format!("`{name}` says nothing that the vocabulary knows"));
        }
        Ok(IndexEntry { terms: entry.terms, tags: entry.tags, vector: entry.vector })
    }

    fn expand(question: String) -> Result<Expansion, Error> {
        let expansion = index::expand(&vocabulary()?, &question);
        Ok(Expansion { terms: expansion.terms, vector: expansion.vector })
    }
}

fn vocabulary() -> Result<Vocabulary, Error> {
    config::synonyms(&host_config::get()).and_then(|s| Vocabulary::with(&s)).map_err(Error::Invalid)
}

export!(FinanceIndex);
