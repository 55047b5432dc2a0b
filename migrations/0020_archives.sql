-- Archives of series: which rows are in which file. Rows of state `only` may be nowhere else; queries read them.

CREATE TABLE archives(
    -- A later one of two that hold the same value is right. Never used again.
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    bucket          TEXT NOT NULL,
    measurement     TEXT NOT NULL,
    tags            TEXT NOT NULL CHECK (json_valid(tags)),
    -- `copy`: its rows are in the engine, too. `only`: they may not be. `restored`: they are back there. `replaced`: a later
    -- file has all of them. `deleted`: somebody deleted every row of it.
    state           TEXT NOT NULL CHECK (state IN ('copy', 'only', 'restored', 'replaced', 'deleted')),
    format          TEXT NOT NULL CHECK (format IN ('parquet')),
    -- All rows that the engine had within this span when it was written.
    from_ns         INTEGER NOT NULL,
    until_ns        INTEGER NOT NULL CHECK (until_ns > from_ns),
    -- Of the rows that were not deleted since.
    first_ns        INTEGER NOT NULL,
    last_ns         INTEGER NOT NULL CHECK (last_ns >= first_ns),
    rows            INTEGER NOT NULL CHECK (rows >= 0),
    -- Names and types of the fields that have a value: a list of pairs.
    fields          TEXT NOT NULL CHECK (json_valid(fields)),
    store           TEXT NOT NULL,
    path            TEXT NOT NULL,
    version         INTEGER NOT NULL CHECK (version > 0),
    hash            TEXT NOT NULL CHECK (length(hash) = 64),
    bytes           INTEGER NOT NULL CHECK (bytes >= 0),
    -- Of the rows of the file, whatever its form.
    digest          TEXT NOT NULL CHECK (length(digest) = 64),
    -- Spans that were deleted since: a list of pairs, the end of each not in it.
    cuts            TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(cuts)),
    created_at      INTEGER NOT NULL
) STRICT;
CREATE INDEX archives_by_series ON archives(bucket, measurement, tags);
CREATE INDEX archives_by_file ON archives(store, path);
CREATE INDEX archives_in_use ON archives(id) WHERE state IN ('copy', 'only');
