-- What skill indexers say of the current version of each skill. A skill without an entry of an indexer waits for one.
CREATE TABLE skill_index(
    id          INTEGER PRIMARY KEY,
    skill_id    INTEGER NOT NULL REFERENCES skills(id),
    plugin      TEXT NOT NULL,
    -- Digest of the indexer and its configuration: what another revision said is said anew.
    revision    TEXT NOT NULL,
    terms       TEXT NOT NULL CHECK (json_valid(terms)),
    tags        TEXT NOT NULL CHECK (json_valid(tags)),
    -- A signed byte per dimension; only the direction counts. Empty: none.
    vector      BLOB NOT NULL CHECK (length(vector) <= 256),
    -- Why the indexer failed; NULL when it did not.
    error       TEXT,
    indexed_at  INTEGER NOT NULL,
    UNIQUE (skill_id, plugin)
) STRICT;
CREATE INDEX skill_index_by_plugin ON skill_index(plugin, revision, skill_id);

-- The terms, rowid = skill_index.id.
CREATE VIRTUAL TABLE skill_terms USING fts5(terms, tokenize = 'porter unicode61 remove_diacritics 2');
