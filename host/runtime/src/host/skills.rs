//! `skills`

use super::error::{Guest, to_guest};
use crate::bindings::shiphold::host::skills::Host;
use crate::bindings::shiphold::host::types::Skill;
use crate::state::State;
use shiphold_storage::skills::{SkillFilter, SkillVersion, Version};
use shiphold_storage::{Error, Result as Storage};

/// Names of one step.
const LIST_MAX: u32 = 10_000;

pub(crate) fn skill_to_guest(skill: SkillVersion) -> Skill {
    Skill {
        name: skill.name,
        version: skill.version.to_string(),
        language: skill.language,
        code: skill.code,
        description: skill.description,
        tags: skill.tags,
        metadata: skill.metadata.to_string(),
    }
}

/// Bytes of a skill on its way to a guest.
pub(crate) fn size_of_skill(s: &Skill) -> usize {
    let own = [&s.name, &s.version, &s.language, &s.code, &s.description, &s.metadata];
    own.into_iter().chain(&s.tags).map(|t| t.len() + size_of::<String>()).sum()
}

impl Host for State {
    async fn get(&mut self, name: String, version: Option<String>) -> wasmtime::Result<Result<Skill, Guest>> {
        self.takes(name.len() + version.as_ref().map_or(0, String::len))?;
        let found = self
            .blocking(move |layer, caller, _| {
                let parse = |v: String| {
                    Version::parse(&v)
                        .map_err(|e| Error::invalid(format!("`{}` is no version: {e}", v.escape_debug())))
                };
                layer.skills().get(caller, &name, version.map(parse).transpose()?.as_ref())
            })
            .await?;
        let found = found.map(skill_to_guest);
        self.gives(found.as_ref().map_or(0, size_of_skill))?;
        Ok(found.map_err(|e| to_guest(&e)))
    }

    async fn list(
        &mut self,
        after: Option<String>,
        limit: u32,
    ) -> wasmtime::Result<Result<Vec<String>, Guest>> {
        self.takes(after.as_ref().map_or(0, String::len))?;
        let listed: Storage<Vec<String>> = self
            .blocking(move |layer, caller, _| {
                let filter =
                    SkillFilter { after, limit: Some(limit.min(LIST_MAX).into()), ..SkillFilter::default() };
                Ok(layer.skills().list(caller, &filter)?.into_iter().map(|s| s.name).collect())
            })
            .await?;
        let size = |all: &Vec<String>| all.iter().map(|n| n.len() + size_of::<String>()).sum();
        self.gives(listed.as_ref().map_or(0, size))?;
        Ok(listed.map_err(|e| to_guest(&e)))
    }
}
