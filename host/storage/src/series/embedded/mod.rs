//! The embedded engine: a durable log, a head in memory, sealed chunks, compaction.
