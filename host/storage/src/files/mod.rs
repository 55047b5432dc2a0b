//! File stores: content-addressed objects under capability-scoped folders, names and versions in SQLite.
