-- Units of work over several stores: what was asked under which key, and what was answered.
CREATE TABLE commits(
    id               INTEGER PRIMARY KEY AUTOINCREMENT,
    actor            TEXT NOT NULL,
    -- Chosen by the client: the same request again gives the same answer. NULL: none was chosen.
    idempotency_key  TEXT,
    -- BLAKE3 of the request.
    digest           TEXT NOT NULL CHECK (length(digest) = 64),
    answer           TEXT NOT NULL CHECK (json_valid(answer)),
    made_at          INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX commits_by_key ON commits(actor, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX commits_by_time ON commits(made_at);

-- Rows of series that are part of a commit and not in the series store yet.
CREATE TABLE commit_rows(
    commit_id  INTEGER PRIMARY KEY REFERENCES commits(id),
    record     BLOB NOT NULL,
    -- Why they never will be.
    error      TEXT
) STRICT;
