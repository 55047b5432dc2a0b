//! What one call may use of memory and tables. Growth beyond a limit ends the call and is remembered, so that the error
//! names the limit whatever the guest made of it.

use shiphold_storage::manifest::PluginLimits;
use shiphold_storage::{Error, Kind};

/// Which limit ended a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hit {
    Memory,
    TableEntries,
    Handles,
    Fuel,
    Reply,
    Deadline,
    Actions,
}

impl Hit {
    /// The error that an operator reads: the limit, its value and how to raise it.
    pub(crate) fn error(self, plugin: &str, limits: &PluginLimits) -> Error {
        let (what, value, key) = match self {
            Self::Memory => ("memory", limits.memory.to_string(), "memory"),
            Self::TableEntries => ("table entries", limits.table_entries.to_string(), "table_entries"),
            Self::Handles => ("handles", limits.handles.to_string(), "handles"),
            Self::Fuel => ("fuel", limits.fuel.unwrap_or_default().to_string(), "fuel"),
            Self::Reply => ("bytes handed to the host in one call", limits.reply.to_string(), "reply"),
            Self::Deadline => ("time", limits.deadline.to_string(), "deadline"),
            Self::Actions => ("actions of one plan", limits.actions.to_string(), "actions"),
        };
        let kind = if self == Self::Deadline { Kind::Timeout } else { Kind::Limit };
        Error::new(kind, format!("plugin `{plugin}` exceeded its limit of {what}: limits.{key} = {value}"))
            .hint(format!("mend the plugin, or raise `plugins.{plugin}.limits.{key}` in shiphold.toml"))
    }
}

/// So that a limit can end a call from anywhere below it, as wasmtime's own error.
impl std::fmt::Display for Hit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a limit of the plugin was exceeded: {self:?}")
    }
}

impl std::error::Error for Hit {}

/// Instances, memories and tables that the modules of one component may have.
const INSTANCES_MAX: usize = 64;
const MEMORIES_MAX: usize = 16;
const TABLES_MAX: usize = 64;

/// Counts what the instance of one call grows to.
#[derive(Debug)]
pub(crate) struct Limiter {
    memory_max: usize,
    tables_max: usize,
    memory: usize,
    tables: usize,
    /// The most memory that the call had.
    pub peak: usize,
    pub hit: Option<Hit>,
}

impl Limiter {
    pub(crate) fn new(limits: &PluginLimits) -> Self {
        Self {
            memory_max: usize::try_from(limits.memory.0).unwrap_or(usize::MAX),
            tables_max: limits.table_entries as usize,
            memory: 0,
            tables: 0,
            peak: 0,
            hit: None,
        }
    }
}

impl Limiter {
    pub(crate) fn requests(&mut self) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl wasmtime::ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let all = self.memory.saturating_add(desired.saturating_sub(current));
        if all > self.memory_max {
            self.hit = Some(Hit::Memory);
            return Err(Hit::Memory.into());
        }
        self.memory = all;
        self.peak = self.peak.max(all);
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let all = self.tables.saturating_add(desired.saturating_sub(current));
        if all > self.tables_max {
            self.hit = Some(Hit::TableEntries);
            return Err(Hit::TableEntries.into());
        }
        self.tables = all;
        Ok(true)
    }

    fn instances(&self) -> usize {
        INSTANCES_MAX
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX
    }

    fn tables(&self) -> usize {
        TABLES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shiphold_storage::units::ByteSize;
    use wasmtime::ResourceLimiter as _;

    #[test]
    fn limits_hold_at_their_edge_over_all_memories_and_tables() {
        let limits = PluginLimits { memory: ByteSize(100), table_entries: 10, ..PluginLimits::default() };
        let mut l = Limiter::new(&limits);
        assert!(l.memory_growing(0, 60, None).unwrap());
        assert!(l.memory_growing(0, 40, None).unwrap());
        assert_eq!((l.peak, l.hit), (100, None));
        assert!(l.memory_growing(60, 61, None).is_err());
        assert_eq!(l.hit, Some(Hit::Memory));
        let mut l = Limiter::new(&limits);
        assert!(l.table_growing(0, 10, None).unwrap());
        assert!(l.table_growing(10, 11, None).is_err());
        assert_eq!(l.hit, Some(Hit::TableEntries));
    }

    #[test]
    fn errors_name_the_limit_its_value_and_the_key() {
        for (hit, key) in [
            (Hit::Memory, "memory"),
            (Hit::TableEntries, "table_entries"),
            (Hit::Handles, "handles"),
            (Hit::Fuel, "fuel"),
            (Hit::Reply, "reply"),
            (Hit::Deadline, "deadline"),
            (Hit::Actions, "actions"),
        ] {
            let e = hit.error("p", &PluginLimits::default());
            assert!(e.message().contains(&format!("limits.{key} = ")), "{e}");
            assert!(e.hint_text().unwrap().contains(&format!("plugins.p.limits.{key}")), "{e:?}");
        }
    }
}
