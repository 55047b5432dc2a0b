-- Since when the changes of which series are kept (`[[series.revisions]]`): before that, nobody knows what was there.
CREATE TABLE series_revisions(
    bucket       TEXT NOT NULL,
    -- A pattern, as the manifest has it.
    measurement  TEXT NOT NULL,
    since_ns     INTEGER NOT NULL,
    window_ns    INTEGER NOT NULL,
    -- The manifest does not have it any more; the row goes when what was kept is dropped.
    ended        INTEGER NOT NULL DEFAULT 0 CHECK (ended IN (0, 1)),
    PRIMARY KEY (bucket, measurement)
) STRICT, WITHOUT ROWID;
