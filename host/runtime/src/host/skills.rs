//! `skills`

use super::error::{Guest, to_guest};
use crate::bindings::shiphold::host::skills::Host;
use crate::bindings::shiphold::host::types::Skill;
use crate::state::State;
use shiphold_storage::Error;
use shiphold_storage::skills::{SkillFilter, SkillVersion, Version};

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

impl Host for State {
    async fn get(&mut self, name: String, version: Option<String>) -> wasmtime::Result<Result<Skill, Guest>> {
        let found = self
            .blocking(move |layer, caller, _| {
                let parse = |v: String| {
                    Version::parse(&v)
                        .map_err(|e| Error::invalid(format!("`{}` is no version: {e}", v.escape_debug())))
                };
                layer.skills().get(caller, &name, version.map(parse).transpose()?.as_ref())
            })
            .await?;
        Ok(found.map(skill_to_guest).map_err(|e| to_guest(&e)))
    }

    async fn list(
        &mut self,
        after: Option<String>,
        limit: u32,
    ) -> wasmtime::Result<Result<Vec<String>, Guest>> {
        let listed = self
            .blocking(move |layer, caller, _| {
                let filter =
                    SkillFilter { after, limit: Some(limit.min(LIST_MAX).into()), ..SkillFilter::default() };
                Ok(layer.skills().list(caller, &filter)?.into_iter().map(|s| s.name).collect())
            })
            .await?;
        Ok(listed.map_err(|e| to_guest(&e)))
    }
}
