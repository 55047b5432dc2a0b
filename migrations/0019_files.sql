-- Files: content in chunks, labels, provenance, uploads, what callers use; lines of logs.

-- Why it must not be read: what a verification found. NULL: nothing is known against it.
ALTER TABLE file_objects ADD COLUMN damaged TEXT;
-- 1: its content is in chunks; 0: in a file of its own.
ALTER TABLE file_objects ADD COLUMN chunked INTEGER NOT NULL DEFAULT 0;

-- Files that hold chunks, one after another.
CREATE TABLE file_packs(
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    store       TEXT NOT NULL,
    name        TEXT NOT NULL CHECK (length(name) = 64),
    bytes       INTEGER NOT NULL CHECK (bytes >= 0),
    created_at  INTEGER NOT NULL,
    UNIQUE (store, name)
) STRICT;

CREATE TABLE file_chunks(
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    store    TEXT NOT NULL,
    -- BLAKE3 of its content.
    hash     BLOB NOT NULL CHECK (length(hash) = 32),
    size     INTEGER NOT NULL CHECK (size > 0),
    pack     INTEGER NOT NULL REFERENCES file_packs(id),
    at       INTEGER NOT NULL CHECK (at >= 0),
    -- Bytes that it takes in its pack; fewer than its size: compressed with zstd.
    stored   INTEGER NOT NULL CHECK (stored > 0 AND stored <= size),
    damaged  TEXT,
    UNIQUE (store, hash)
) STRICT;
CREATE INDEX file_chunks_by_pack ON file_chunks(pack, at);
CREATE INDEX file_chunks_damaged ON file_chunks(store) WHERE damaged IS NOT NULL;

-- An object whose content is in chunks, by a number that is short enough for each of its chunks.
CREATE TABLE file_chunked(
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    store  TEXT NOT NULL,
    hash   TEXT NOT NULL,
    UNIQUE (store, hash),
    FOREIGN KEY (store, hash) REFERENCES file_objects(store, hash) ON DELETE CASCADE
) STRICT;

CREATE TABLE file_recipes(
    object  INTEGER NOT NULL REFERENCES file_chunked(id) ON DELETE CASCADE,
    -- Where the chunk begins in the content.
    at      INTEGER NOT NULL CHECK (at >= 0),
    chunk   INTEGER NOT NULL REFERENCES file_chunks(id),
    PRIMARY KEY (object, at)
) STRICT, WITHOUT ROWID;
CREATE INDEX file_recipes_by_chunk ON file_recipes(chunk);

-- What a store holds, and what each caller put there; kept by the triggers below.
CREATE TABLE file_usage(
    store     TEXT NOT NULL PRIMARY KEY,
    versions  INTEGER NOT NULL DEFAULT 0,
    objects   INTEGER NOT NULL DEFAULT 0,
    bytes     INTEGER NOT NULL DEFAULT 0,
    -- Bytes that files of objects and packs take.
    stored    INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE TABLE file_usage_by(
    store     TEXT NOT NULL,
    actor     TEXT NOT NULL,
    versions  INTEGER NOT NULL DEFAULT 0,
    bytes     INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (store, actor)
) STRICT, WITHOUT ROWID;
INSERT INTO file_usage(store, objects, bytes, stored)
    SELECT store, count(*), sum(size), sum(size) FROM file_objects GROUP BY store;
INSERT INTO file_usage(store, versions)
    SELECT store, count(*) FROM file_versions WHERE true GROUP BY store
    ON CONFLICT(store) DO UPDATE SET versions = excluded.versions;
INSERT INTO file_usage_by(store, actor, versions, bytes)
    SELECT store, created_by, count(*), sum(size) FROM file_versions GROUP BY store, created_by;

CREATE TRIGGER file_versions_added AFTER INSERT ON file_versions BEGIN
    INSERT INTO file_usage(store, versions) VALUES (new.store, 1)
        ON CONFLICT(store) DO UPDATE SET versions = versions + 1;
    INSERT INTO file_usage_by(store, actor, versions, bytes) VALUES (new.store, new.created_by, 1, new.size)
        ON CONFLICT(store, actor) DO UPDATE SET versions = versions + 1, bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER file_versions_gone AFTER DELETE ON file_versions BEGIN
    UPDATE file_usage SET versions = versions - 1 WHERE store = old.store;
    UPDATE file_usage_by SET versions = versions - 1, bytes = bytes - old.size
        WHERE store = old.store AND actor = old.created_by;
END;
CREATE TRIGGER file_objects_added AFTER INSERT ON file_objects BEGIN
    INSERT INTO file_usage(store, objects, bytes, stored)
        VALUES (new.store, 1, new.size, iif(new.chunked, 0, new.size))
        ON CONFLICT(store) DO UPDATE SET objects = objects + 1, bytes = bytes + excluded.bytes,
            stored = stored + excluded.stored;
END;
CREATE TRIGGER file_objects_gone AFTER DELETE ON file_objects BEGIN
    UPDATE file_usage SET objects = objects - 1, bytes = bytes - old.size,
        stored = stored - iif(old.chunked, 0, old.size) WHERE store = old.store;
END;
CREATE TRIGGER file_objects_changed AFTER UPDATE OF chunked ON file_objects BEGIN
    UPDATE file_usage SET stored = stored - iif(old.chunked, 0, old.size) + iif(new.chunked, 0, new.size)
        WHERE store = new.store;
END;
CREATE TRIGGER file_packs_added AFTER INSERT ON file_packs BEGIN
    INSERT INTO file_usage(store, stored) VALUES (new.store, new.bytes)
        ON CONFLICT(store) DO UPDATE SET stored = stored + excluded.stored;
END;
CREATE TRIGGER file_packs_gone AFTER DELETE ON file_packs BEGIN
    UPDATE file_usage SET stored = stored - old.bytes WHERE store = old.store;
END;

-- Which version a label stands for now. A version with a label cannot go.
CREATE TABLE file_labels(
    store     TEXT NOT NULL,
    label     TEXT NOT NULL,
    revision  INTEGER NOT NULL CHECK (revision > 0),
    path      TEXT NOT NULL,
    version   INTEGER NOT NULL,
    set_at    INTEGER NOT NULL,
    set_by    TEXT NOT NULL,
    PRIMARY KEY (store, label),
    FOREIGN KEY (store, path, version) REFERENCES file_versions(store, path, version)
) STRICT, WITHOUT ROWID;
CREATE INDEX file_labels_by_version ON file_labels(store, path, version);
-- All that a label ever stood for; without a path: it was taken away.
CREATE TABLE file_label_changes(
    store     TEXT NOT NULL,
    label     TEXT NOT NULL,
    revision  INTEGER NOT NULL CHECK (revision > 0),
    path      TEXT,
    version   INTEGER,
    set_at    INTEGER NOT NULL,
    set_by    TEXT NOT NULL,
    PRIMARY KEY (store, label, revision)
) STRICT, WITHOUT ROWID;

-- What a version was made by, and from which data.
CREATE TABLE file_provenance(
    store          TEXT NOT NULL,
    path           TEXT NOT NULL,
    version        INTEGER NOT NULL,
    skill          TEXT NOT NULL,
    skill_version  TEXT NOT NULL,
    PRIMARY KEY (store, path, version),
    FOREIGN KEY (store, path, version) REFERENCES file_versions(store, path, version) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX file_provenance_by_skill ON file_provenance(store, skill, path, version);
CREATE TABLE file_data(
    store        TEXT NOT NULL,
    path         TEXT NOT NULL,
    version      INTEGER NOT NULL,
    number       INTEGER NOT NULL,
    measurement  TEXT NOT NULL,
    from_ns      INTEGER NOT NULL,
    to_ns        INTEGER NOT NULL CHECK (to_ns > from_ns),
    PRIMARY KEY (store, path, version, number),
    FOREIGN KEY (store, path, version) REFERENCES file_versions(store, path, version) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX file_data_by_measurement ON file_data(store, measurement, path, version);

-- Content that comes in parts.
CREATE TABLE file_uploads(
    id          TEXT NOT NULL PRIMARY KEY CHECK (length(id) = 64),
    store       TEXT NOT NULL,
    path        TEXT NOT NULL,
    actor       TEXT NOT NULL,
    -- What was said of the file, as JSON.
    options     TEXT NOT NULL CHECK (json_valid(options)),
    received    INTEGER NOT NULL CHECK (received >= 0),
    created_at  INTEGER NOT NULL,
    touched_at  INTEGER NOT NULL,
    -- The version that it became.
    version     INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX file_uploads_by_store ON file_uploads(store, touched_at);

CREATE TABLE log_streams(
    id          INTEGER PRIMARY KEY,
    name        TEXT NOT NULL UNIQUE,
    -- The number of the next line.
    next        INTEGER NOT NULL CHECK (next > 0),
    created_at  INTEGER NOT NULL,
    -- Of the lines that are in no segment yet: how many bytes, and when the first of them came.
    bytes       INTEGER NOT NULL,
    since       INTEGER
) STRICT;
CREATE TABLE log_lines(
    stream  INTEGER NOT NULL REFERENCES log_streams(id),
    number  INTEGER NOT NULL CHECK (number > 0),
    time    INTEGER NOT NULL,
    level   INTEGER NOT NULL,
    text    TEXT NOT NULL,
    PRIMARY KEY (stream, number)
) STRICT, WITHOUT ROWID;
-- Lines that became a file; it is gone from here when the file goes.
CREATE TABLE log_segments(
    stream    INTEGER NOT NULL REFERENCES log_streams(id),
    first     INTEGER NOT NULL CHECK (first > 0),
    last      INTEGER NOT NULL CHECK (last >= first),
    min_time  INTEGER NOT NULL,
    max_time  INTEGER NOT NULL,
    bytes     INTEGER NOT NULL,
    store     TEXT NOT NULL,
    path      TEXT NOT NULL,
    version   INTEGER NOT NULL,
    PRIMARY KEY (stream, first),
    FOREIGN KEY (store, path, version) REFERENCES file_versions(store, path, version) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX log_segments_by_file ON log_segments(store, path, version);
CREATE INDEX log_streams_waiting ON log_streams(since) WHERE since IS NOT NULL;
-- Archived segments of the audit trail, by the files that they are in.
CREATE INDEX audit_segments_by_file ON audit_segments(store, path);
