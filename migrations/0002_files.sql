-- Files: names point to immutable versions, versions to content-addressed objects.

CREATE TABLE file_objects(
    store       TEXT NOT NULL,
    hash        TEXT NOT NULL CHECK (length(hash) = 64),
    size        INTEGER NOT NULL CHECK (size >= 0),
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (store, hash)
) STRICT, WITHOUT ROWID;

CREATE TABLE file_versions(
    store       TEXT NOT NULL,
    path        TEXT NOT NULL,
    version     INTEGER NOT NULL CHECK (version > 0),
    -- NULL: this version says that the file was deleted.
    hash        TEXT,
    size        INTEGER NOT NULL CHECK (size >= 0),
    created_at  INTEGER NOT NULL,
    created_by  TEXT NOT NULL,
    media_type  TEXT NOT NULL,
    metadata    TEXT NOT NULL CHECK (json_valid(metadata)),
    PRIMARY KEY (store, path, version),
    FOREIGN KEY (store, hash) REFERENCES file_objects(store, hash)
) STRICT, WITHOUT ROWID;
CREATE INDEX file_versions_by_hash ON file_versions(store, hash);

-- The spelling of each name that has been taken, folded: `A.bin` and `a.bin` are one name on many disks.
CREATE TABLE file_names(
    store   TEXT NOT NULL,
    folded  TEXT NOT NULL,
    path    TEXT NOT NULL,
    PRIMARY KEY (store, folded)
) STRICT, WITHOUT ROWID;
