-- The embedded series engine: what is known of series, the log of commits, sealed chunks.

CREATE TABLE measurement(
    id INTEGER PRIMARY KEY,
    bucket TEXT NOT NULL,
    name TEXT NOT NULL
) STRICT;

-- The type of a field is fixed by its first write.
CREATE TABLE field(
    measurement INTEGER NOT NULL,
    number INTEGER NOT NULL,
    name TEXT NOT NULL,
    type INTEGER NOT NULL,
    PRIMARY KEY(measurement, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE series(
    id INTEGER PRIMARY KEY,
    measurement INTEGER NOT NULL,
    -- JSON: [[key, value], …], sorted by key
    tags TEXT NOT NULL,
    -- a bit per field number that the series has
    fields BLOB NOT NULL
) STRICT;

-- One row is one batch: it is there whole or not at all.
CREATE TABLE log(
    seq INTEGER PRIMARY KEY,
    body BLOB NOT NULL
) STRICT;

CREATE TABLE chunk(
    series INTEGER NOT NULL,
    id INTEGER NOT NULL,
    -- where chunks overlap, the greater version wins
    version INTEGER NOT NULL,
    rows INTEGER NOT NULL,
    min_time INTEGER NOT NULL,
    max_time INTEGER NOT NULL,
    -- of the body, and of the values in memory
    bytes INTEGER NOT NULL,
    raw_bytes INTEGER NOT NULL,
    -- over the columns above
    checksum INTEGER NOT NULL,
    -- per field: count, min, max, first, last, sum
    stats BLOB NOT NULL,
    PRIMARY KEY(series, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE chunk_data(
    id INTEGER PRIMARY KEY,
    body BLOB NOT NULL
) STRICT;

-- Data that no chunk row owns: written ahead of its row, or replaced while a scan may still read it. Given up
-- at the next start at the latest.
CREATE TABLE unowned(id INTEGER PRIMARY KEY) STRICT;

-- Log records that could not be read at a start, kept for a person to look at.
CREATE TABLE quarantine(
    id INTEGER PRIMARY KEY,
    seq INTEGER NOT NULL,
    problem TEXT NOT NULL,
    body BLOB NOT NULL
) STRICT;
