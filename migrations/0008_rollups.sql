-- What a rollup is: with another definition it begins anew.
CREATE TABLE rollups(
    name        TEXT PRIMARY KEY,
    definition  TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- How far each series is in a rollup of the manifest: windows that end at or before this time are in it.
CREATE TABLE rollup_marks(
    rollup       TEXT NOT NULL,
    bucket       TEXT NOT NULL,
    measurement  TEXT NOT NULL,
    tags         TEXT NOT NULL CHECK (json_valid(tags)),
    until_ns     INTEGER NOT NULL,
    PRIMARY KEY (rollup, bucket, measurement, tags)
) STRICT, WITHOUT ROWID;

-- Windows into which late rows were written, or were about to be: they are rolled up again. The same windows written into again get
-- another id, so that what was rolled up before that does not pass for what is there now.
CREATE TABLE rollup_late(
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    rollup       TEXT NOT NULL,
    bucket       TEXT NOT NULL,
    measurement  TEXT NOT NULL,
    tags         TEXT NOT NULL CHECK (json_valid(tags)),
    start_ns     INTEGER NOT NULL,
    end_ns       INTEGER NOT NULL,
    UNIQUE (rollup, bucket, measurement, tags, start_ns, end_ns)
) STRICT;
