//! What one call may use. What exceeds a limit ends the call and is remembered, so that the error names the limit whatever
//! the guest made of it.

use shiphold_storage::manifest::PluginLimits;
use shiphold_storage::{Error, Kind};
use wasmtime::Trap;
use wasmtime::component::ResourceTableError;

/// Which limit ended a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hit {
    Memory,
    TableEntries,
    Handles,
    Instances,
    Memories,
    Tables,
    Fuel,
    Reply,
    Output,
    Input,
    Deadline,
    Actions,
    /// Outgoing HTTP requests.
    Requests,
}

impl Hit {
    #[cfg(test)]
    pub(crate) const ALL: [(Self, &'static str); 13] = [
        (Self::Memory, "memory"),
        (Self::TableEntries, "table_entries"),
        (Self::Handles, "handles"),
        (Self::Instances, "instances"),
        (Self::Memories, "memories"),
        (Self::Tables, "tables"),
        (Self::Fuel, "fuel"),
        (Self::Reply, "reply"),
        (Self::Output, "output"),
        (Self::Input, "input"),
        (Self::Deadline, "deadline"),
        (Self::Actions, "actions"),
        (Self::Requests, "requests"),
    ];

    /// The error that an operator reads: the limit, its value and how to raise it.
    pub(crate) fn error(self, plugin: &str, limits: &PluginLimits) -> Error {
        let (what, value, key) = match self {
            Self::Memory => ("memory", limits.memory.to_string(), "memory"),
            Self::TableEntries => ("table entries", limits.table_entries.to_string(), "table_entries"),
            Self::Handles => ("handles", limits.handles.to_string(), "handles"),
            Self::Instances => ("core instances", limits.instances.to_string(), "instances"),
            Self::Memories => ("memories", limits.memories.to_string(), "memories"),
            Self::Tables => ("tables", limits.tables.to_string(), "tables"),
            Self::Fuel => ("fuel", limits.fuel.unwrap_or_default().to_string(), "fuel"),
            Self::Reply => ("bytes handed to the host at once", limits.reply.to_string(), "reply"),
            Self::Output => ("bytes handed to the host in one call", limits.output.to_string(), "output"),
            Self::Input => ("bytes taken from the host in one call", limits.input.to_string(), "input"),
            Self::Deadline => ("time", limits.deadline.to_string(), "deadline"),
            Self::Actions => ("actions of one plan", limits.actions.to_string(), "actions"),
            Self::Requests => ("HTTP requests of one call", limits.requests.to_string(), "requests"),
        };
        let kind = if self == Self::Deadline { Kind::Timeout } else { Kind::Limit };
        Error::new(kind, format!("plugin `{plugin}` exceeded its limit of {what}: limits.{key} = {value}"))
            .hint(format!("mend the plugin, or raise `plugins.{plugin}.limits.{key}` in shiphold.toml"))
    }

    /// The limit that ended a call from below: our own, and those that wasmtime keeps. For most of its own wasmtime has no
    /// type that could be asked for: tests hold on to its words.
    pub(crate) fn behind(e: &wasmtime::Error) -> Option<Self> {
        if let Some(hit) = e.downcast_ref::<Self>() {
            return Some(*hit);
        }
        match e.downcast_ref::<Trap>() {
            Some(Trap::OutOfFuel) => return Some(Self::Fuel),
            Some(_) => return None,
            None => {}
        }
        if matches!(e.downcast_ref::<ResourceTableError>(), Some(ResourceTableError::Full)) {
            return Some(Self::Handles);
        }
        let text = format!("{e:#}");
        [
            ("fuel allocated for hostcalls has been exhausted", Self::Reply),
            ("store handle limit exceeded", Self::Handles),
            ("resource limit exceeded: instance count too high", Self::Instances),
            ("resource limit exceeded: memory count too high", Self::Memories),
            ("resource limit exceeded: table count too high", Self::Tables),
        ]
        .into_iter()
        .find_map(|(words, hit)| text.contains(words).then_some(hit))
    }
}

/// So that a limit can end a call from anywhere below it, as wasmtime's own error.
impl std::fmt::Display for Hit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a limit of the plugin was exceeded: {self:?}")
    }
}

impl std::error::Error for Hit {}

/// Counts what the instance of one call grows to, and the bytes that cross in either direction.
#[derive(Debug)]
pub(crate) struct Limiter {
    memory_max: usize,
    table_entries_max: usize,
    reply_max: u64,
    input_max: u64,
    output_max: u64,
    requests_max: u64,
    instances_max: usize,
    memories_max: usize,
    tables_max: usize,
    memory: usize,
    table_entries: usize,
    /// Bytes that the call was handed.
    input: u64,
    /// Bytes that its host calls were handed.
    output: u64,
    requests: u64,
    /// The most memory that the session had.
    pub peak: usize,
    pub hit: Option<Hit>,
}

impl Limiter {
    pub(crate) fn new(limits: &PluginLimits) -> Self {
        Self {
            memory_max: usize::try_from(limits.memory.0).unwrap_or(usize::MAX),
            table_entries_max: limits.table_entries as usize,
            reply_max: limits.reply.0,
            input_max: limits.input.0,
            output_max: limits.output.0,
            requests_max: limits.requests.into(),
            instances_max: limits.instances as usize,
            memories_max: limits.memories as usize,
            tables_max: limits.tables as usize,
            memory: 0,
            table_entries: 0,
            input: 0,
            output: 0,
            requests: 0,
            peak: 0,
            hit: None,
        }
    }

    /// A call begins: bytes count anew; memory and tables are still there.
    pub(crate) fn begin(&mut self) {
        (self.input, self.output, self.requests, self.hit) = (0, 0, 0, None);
    }

    /// Bytes on their way to the guest.
    pub(crate) fn gives(&mut self, bytes: usize) -> wasmtime::Result<()> {
        self.input = self.input.saturating_add(bytes as u64);
        if self.input > self.input_max { self.ends(Hit::Input) } else { Ok(()) }
    }

    /// Bytes that a host call took.
    pub(crate) fn takes(&mut self, bytes: usize) -> wasmtime::Result<()> {
        let bytes = bytes as u64;
        self.output = self.output.saturating_add(bytes);
        if bytes > self.reply_max {
            return self.ends(Hit::Reply);
        }
        if self.output > self.output_max { self.ends(Hit::Output) } else { Ok(()) }
    }

    /// A request on its way out.
    pub(crate) fn requests(&mut self) -> wasmtime::Result<()> {
        self.requests += 1;
        if self.requests > self.requests_max { self.ends(Hit::Requests) } else { Ok(()) }
    }

    /// Ends the call.
    pub(crate) fn ends<T>(&mut self, hit: Hit) -> wasmtime::Result<T> {
        self.hit = Some(hit);
        Err(hit.into())
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
            return self.ends(Hit::Memory);
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
        let all = self.table_entries.saturating_add(desired.saturating_sub(current));
        if all > self.table_entries_max {
            return self.ends(Hit::TableEntries);
        }
        self.table_entries = all;
        Ok(true)
    }

    fn instances(&self) -> usize {
        self.instances_max
    }

    fn memories(&self) -> usize {
        self.memories_max
    }

    fn tables(&self) -> usize {
        self.tables_max
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
    fn bytes_hold_at_their_edge_over_all_host_calls_of_one_call() {
        let limits = PluginLimits {
            input: ByteSize(100),
            output: ByteSize(100),
            reply: ByteSize(60),
            ..PluginLimits::default()
        };
        let mut l = Limiter::new(&limits);
        assert!(l.gives(40).is_ok() && l.gives(60).is_ok() && l.takes(60).is_ok() && l.takes(40).is_ok());
        l.begin();
        assert!(l.gives(100).is_ok() && l.gives(0).is_ok() && l.hit.is_none(), "the next call counts anew");
        assert!(l.gives(1).is_err() && l.hit == Some(Hit::Input));
        let mut l = Limiter::new(&limits);
        assert!(l.takes(61).is_err() && l.hit == Some(Hit::Reply), "too much at once");
        let mut l = Limiter::new(&limits);
        assert!(l.takes(60).is_ok() && l.takes(41).is_err() && l.hit == Some(Hit::Output));
        let mut l = Limiter::new(&PluginLimits { requests: 2, ..limits.clone() });
        assert!(l.requests().is_ok() && l.requests().is_ok() && l.requests().is_err());
        assert_eq!(l.hit, Some(Hit::Requests));
        let mut l = Limiter::new(&limits);
        assert!(l.gives(usize::MAX).is_err() && l.gives(usize::MAX).is_err(), "nothing wraps");
    }

    #[test]
    fn errors_name_the_limit_its_value_and_the_key() {
        for (hit, key) in Hit::ALL {
            let e = hit.error("p", &PluginLimits::default());
            assert!(e.message().contains(&format!("limits.{key} = ")), "{e}");
            assert!(e.hint_text().unwrap().contains(&format!("plugins.p.limits.{key}")), "{e:?}");
            assert_eq!(Hit::behind(&wasmtime::Error::from(hit)), Some(hit));
        }
    }
}
