//! What a plugin may use: `[plugins.NAME.limits]` for each, `[limits.plugins]` for all of them together.

use super::load::to_u32;
use super::reader::Section;
use crate::units::{ByteSize, Span};
use serde::Serialize;

/// `[plugins.NAME.limits]`: each ends the one call that exceeds it, but those that say otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PluginLimits {
    /// `memory` (default 64 MiB): linear memories of one instance together.
    pub memory: ByteSize,
    /// `deadline` (default 5 s): wall clock of one call, time blocked in host calls included.
    pub deadline: Span,
    /// `fuel` (default none): instructions of one call, for determinism.
    pub fuel: Option<u64>,
    /// `table_entries` (default 10,000) of all tables of an instance.
    pub table_entries: u32,
    /// `handles` (default 1,000): resources that a guest holds at once.
    pub handles: u32,
    /// `instances` (default 64): core instances that one component is made of.
    pub instances: u32,
    /// `memories` (default 16): linear memories of one component.
    pub memories: u32,
    /// `tables` (default 64) of one component.
    pub tables: u32,
    /// `reply` (default 8 MiB): bytes that a guest hands over at once: what a call gives back, or the arguments of one
    /// host call.
    pub reply: ByteSize,
    /// `output` (default 256 MiB): bytes of the arguments of all host calls of one call; of a query, also the whole
    /// answer that it transformed.
    pub output: ByteSize,
    /// `input` (default 256 MiB): bytes that one call is handed: its arguments and what its host calls give back.
    pub input: ByteSize,
    /// `log_lines` (default 1,000) of one call; what is over is counted, not kept.
    pub log_lines: u32,
    /// `log_bytes` (default 1 MiB) of the lines of one call; what is over is counted, not kept.
    pub log_bytes: ByteSize,
    /// `gauges` (default 100): names; one more is refused, the call goes on.
    pub gauges: u32,
    /// `actions` (default 10,000) of one `plan` call.
    pub actions: u32,
    /// `requests` (default 1,000): outgoing HTTP requests of one call.
    pub requests: u32,
    /// `concurrency` (default 4): instances of this plugin at once; another call waits.
    pub concurrency: u32,
    /// `queue` (default 64): calls of this plugin that wait; one more is refused as busy.
    pub queue: u32,
}

impl Default for PluginLimits {
    fn default() -> Self {
        Self {
            memory: ByteSize::mib(64),
            deadline: Span::from_secs(5),
            fuel: None,
            table_entries: 10_000,
            handles: 1_000,
            instances: 64,
            memories: 16,
            tables: 64,
            reply: ByteSize::mib(8),
            output: ByteSize::mib(256),
            input: ByteSize::mib(256),
            log_lines: 1_000,
            log_bytes: ByteSize::mib(1),
            gauges: 100,
            actions: 10_000,
            requests: 1_000,
            concurrency: 4,
            queue: 64,
        }
    }
}

/// `[limits.plugins]`: all plugins of the host together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HostPluginLimits {
    /// `memory` (default 1 GiB): the `limits.memory` of all instances that run at once; another call waits.
    pub memory: ByteSize,
    /// `instances` (default 16) that run at once; another call waits.
    pub instances: u32,
    /// `threads` on which guests run (default: one less than the machine has, at least one).
    pub threads: Option<u32>,
    /// `queue` (default 256): calls that wait; one more is refused as busy.
    pub queue: u32,
    /// `wait` (default 30 s): the longest that a call waits for its turn; then it is refused as busy.
    pub wait: Span,
    /// `component_max` (default 64 MiB): bytes of one component.
    pub component_max: ByteSize,
    /// `compile_time` (default 60 s): of one component; twice as much of processor time. One compiles at a time.
    pub compile_time: Span,
    /// `compile_memory` (default 3 GiB) of the process that compiles.
    pub compile_memory: ByteSize,
}

impl Default for HostPluginLimits {
    fn default() -> Self {
        Self {
            memory: ByteSize::gib(1),
            instances: 16,
            threads: None,
            queue: 256,
            wait: Span::from_secs(30),
            component_max: ByteSize::mib(64),
            compile_time: Span::from_secs(60),
            compile_memory: ByteSize::gib(3),
        }
    }
}

pub(super) fn read_host_plugin_limits(s: &Section<'_, '_>) -> HostPluginLimits {
    let d = HostPluginLimits::default();
    let limits = HostPluginLimits {
        memory: s.size("memory", d.memory, ByteSize::kib(64)..=ByteSize::gib(1_024)),
        instances: to_u32(s.number("instances", d.instances.into(), 1..=256)),
        threads: s.number_opt("threads", 1..=256).map(to_u32),
        queue: to_u32(s.number("queue", d.queue.into(), 0..=100_000)),
        wait: s.time("wait", d.wait, Span::from_millis(1)..=Span::from_secs(3_600)),
        component_max: s.size("component_max", d.component_max, ByteSize::kib(1)..=ByteSize::gib(1)),
        compile_time: s.time("compile_time", d.compile_time, Span::from_secs(1)..=Span::from_secs(3_600)),
        compile_memory: s.size("compile_memory", d.compile_memory, ByteSize::mib(64)..=ByteSize::gib(1_024)),
    };
    s.finish();
    limits
}

pub(super) fn read_plugin_limits(s: &Section<'_, '_>, all: &HostPluginLimits) -> PluginLimits {
    let d = PluginLimits::default();
    let bytes = |key, default| s.size(key, default, ByteSize::kib(1)..=ByteSize::gib(16));
    let limits = PluginLimits {
        memory: s.size("memory", d.memory, ByteSize::kib(64)..=ByteSize::gib(4)),
        deadline: s.time("deadline", d.deadline, Span::from_millis(1)..=Span::from_secs(3_600)),
        fuel: s.number_opt("fuel", 1_000..=u64::MAX),
        table_entries: to_u32(s.number("table_entries", d.table_entries.into(), 1..=1_000_000)),
        handles: to_u32(s.number("handles", d.handles.into(), 1..=100_000)),
        instances: to_u32(s.number("instances", d.instances.into(), 1..=1_000)),
        memories: to_u32(s.number("memories", d.memories.into(), 1..=100)),
        tables: to_u32(s.number("tables", d.tables.into(), 1..=1_000)),
        reply: s.size("reply", d.reply, ByteSize::kib(1)..=ByteSize::gib(1)),
        output: bytes("output", d.output),
        input: bytes("input", d.input),
        log_lines: to_u32(s.number("log_lines", d.log_lines.into(), 0..=100_000)),
        log_bytes: s.size("log_bytes", d.log_bytes, ByteSize(0)..=ByteSize::mib(64)),
        gauges: to_u32(s.number("gauges", d.gauges.into(), 0..=1_000)),
        actions: to_u32(s.number("actions", d.actions.into(), 1..=10_000)),
        requests: to_u32(s.number("requests", d.requests.into(), 0..=1_000_000)),
        concurrency: to_u32(s.number("concurrency", d.concurrency.into(), 1..=256)),
        queue: to_u32(s.number("queue", d.queue.into(), 0..=10_000)),
    };
    if limits.memory > all.memory {
        s.problem(
            "memory",
            format!(
                "{} is more than limits.plugins.memory ({}), which all plugins share: it could never run",
                limits.memory, all.memory
            ),
        );
    }
    s.finish();
    limits
}
