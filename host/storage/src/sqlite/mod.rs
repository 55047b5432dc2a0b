//! One SQLite file: a writer connection, a bounded pool of readers, WAL, `synchronous=FULL`.
