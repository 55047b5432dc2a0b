-- Bearer tokens, by the hash of their secret.
CREATE TABLE tokens(
    id           INTEGER PRIMARY KEY,
    name         TEXT NOT NULL UNIQUE,
    hash         BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
    scope        TEXT NOT NULL CHECK (scope IN ('read', 'write', 'admin')),
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER,
    last_used_at INTEGER
) STRICT;

-- What the host remembers of plugins.
CREATE TABLE plugin_state(
    name      TEXT PRIMARY KEY,
    enabled   INTEGER NOT NULL DEFAULT 1 CHECK (enabled IN (0, 1)),
    failures  INTEGER NOT NULL DEFAULT 0,
    skipped   INTEGER NOT NULL DEFAULT 0,
    last_due  INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE plugin_runs(
    id            INTEGER PRIMARY KEY,
    plugin        TEXT NOT NULL,
    trigger       TEXT NOT NULL,
    dry_run       INTEGER NOT NULL CHECK (dry_run IN (0, 1)),
    state         TEXT NOT NULL CHECK (state IN ('running', 'ok', 'failed', 'interrupted')),
    started_at    INTEGER NOT NULL,
    duration_ms   INTEGER,
    memory_peak   INTEGER,
    fuel          INTEGER,
    actions       INTEGER,
    error         TEXT,
    log           TEXT CHECK (log IS NULL OR json_valid(log))
) STRICT;
CREATE INDEX plugin_runs_by_plugin ON plugin_runs(plugin, id);

-- How far the raw rows of a series are in a target: a rollup (`bar.1h.AAPL`) or an archive (`archive:STORE`).
CREATE TABLE retention_marks(
    bucket           TEXT NOT NULL,
    measurement      TEXT NOT NULL,
    tags             TEXT NOT NULL CHECK (json_valid(tags)),
    target           TEXT NOT NULL,
    -- Rows before this time, in nanoseconds, are in the target.
    rolled_until_ns  INTEGER NOT NULL,
    PRIMARY KEY (bucket, measurement, tags, target)
) STRICT, WITHOUT ROWID;

-- How far raw rows have been dropped: what arrives before this time is late.
CREATE TABLE retention_drops(
    bucket            TEXT NOT NULL,
    measurement       TEXT NOT NULL,
    tags              TEXT NOT NULL CHECK (json_valid(tags)),
    dropped_until_ns  INTEGER NOT NULL,
    PRIMARY KEY (bucket, measurement, tags)
) STRICT, WITHOUT ROWID;
