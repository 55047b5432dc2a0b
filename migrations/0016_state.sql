-- The state of strategies. A row of a strategy never goes, so the highest id is their number.
CREATE TABLE state_strategies(
    id    INTEGER PRIMARY KEY CHECK (id > 0),
    name  TEXT NOT NULL UNIQUE
) STRICT;

-- Checkpoints: every save is a revision, the newest is what a strategy starts from. `seq` is their order over all strategies, and
-- what a feed of changes goes by. Older revisions go, by their number.
CREATE TABLE state_checkpoints(
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    strategy    INTEGER NOT NULL REFERENCES state_strategies(id),
    revision    INTEGER NOT NULL CHECK (revision > 0),
    -- BLAKE3 of the content. NULL: this revision says that the state was deleted.
    hash        TEXT CHECK (length(hash) = 64),
    size        INTEGER NOT NULL CHECK (size >= 0),
    media_type  TEXT NOT NULL,
    metadata    TEXT NOT NULL CHECK (json_valid(metadata)),
    saved_at    INTEGER NOT NULL,
    saved_by    TEXT NOT NULL,
    -- The file store whose object is the content, where it is large.
    store       TEXT,
    -- The content, where it is small. The last column: what is listed is read without it.
    content     BLOB,
    UNIQUE (strategy, revision),
    FOREIGN KEY (store, hash) REFERENCES file_objects(store, hash),
    CHECK (CASE WHEN hash IS NULL THEN store IS NULL AND content IS NULL ELSE (store IS NULL) <> (content IS NULL) END)
) STRICT;
CREATE INDEX state_checkpoints_by_object ON state_checkpoints(store, hash) WHERE store IS NOT NULL;

-- What was answered to whom: the same request again gets the same answer.
CREATE TABLE state_keys(
    strategy         INTEGER NOT NULL REFERENCES state_strategies(id),
    -- Which it made.
    revision         INTEGER NOT NULL,
    actor            TEXT NOT NULL,
    idempotency_key  TEXT NOT NULL,
    -- BLAKE3 of the request.
    digest           TEXT NOT NULL CHECK (length(digest) = 64),
    answer           TEXT NOT NULL CHECK (json_valid(answer)),
    PRIMARY KEY (strategy, revision)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX state_keys_by_key ON state_keys(strategy, actor, idempotency_key);

-- Objects that a revision named which went: they are looked at, and go too if nothing else names them.
CREATE TABLE state_dropped(
    store  TEXT NOT NULL,
    hash   TEXT NOT NULL,
    looks  INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (store, hash)
) STRICT, WITHOUT ROWID;
