-- Which fields are decimals (`[[series.decimals]]`): the engines store their units as integers, and what those mean must not change
-- while there are rows.
CREATE TABLE series_decimals(
    bucket       TEXT NOT NULL,
    -- Patterns, as the manifest has them.
    measurement  TEXT NOT NULL,
    field        TEXT NOT NULL,
    scale        INTEGER NOT NULL CHECK (scale BETWEEN 0 AND 18),
    PRIMARY KEY (bucket, measurement, field)
) STRICT, WITHOUT ROWID;
