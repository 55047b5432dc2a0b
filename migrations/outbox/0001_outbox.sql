-- The outbox of the InfluxDB engine: what was acknowledged and is not delivered yet, and what the server refused.

-- One row is one record: rows of some series, delivered in the order of `seq`.
CREATE TABLE outbox(
    seq INTEGER PRIMARY KEY,
    -- when it was acknowledged, in nanoseconds since the Unix epoch
    at INTEGER NOT NULL,
    -- 1: its types were compared with the server's before it was acknowledged
    checked INTEGER NOT NULL,
    record BLOB NOT NULL
) STRICT;

-- What the server refused for good, a row for each series of a record.
CREATE TABLE refused(
    id INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    bucket TEXT NOT NULL,
    measurement TEXT NOT NULL,
    -- JSON: [[key, value], …], sorted by key
    tags TEXT NOT NULL,
    min_time INTEGER NOT NULL,
    max_time INTEGER NOT NULL,
    rows INTEGER NOT NULL,
    why TEXT NOT NULL,
    record BLOB NOT NULL
) STRICT;
