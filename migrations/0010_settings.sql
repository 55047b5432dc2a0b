-- One number for every change of a setting, in the order of their commits: what a feed of changes goes by.
CREATE TABLE setting_changes(
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    namespace  TEXT NOT NULL,
    key        TEXT NOT NULL,
    revision   INTEGER NOT NULL,
    FOREIGN KEY (namespace, key, revision) REFERENCES setting_revisions(namespace, key, revision)
) STRICT;
CREATE INDEX setting_changes_by_revision ON setting_changes(namespace, key, revision);
INSERT INTO setting_changes(namespace, key, revision)
    SELECT namespace, key, revision FROM setting_revisions ORDER BY changed_at, namespace, key, revision;

-- For reads as of a time: times of changes grow.
CREATE INDEX setting_revisions_by_time ON setting_revisions(changed_at);

-- What a value of a key must look like; the newest row of a key counts, NULL: anything goes.
CREATE TABLE setting_schemas(
    namespace  TEXT NOT NULL,
    key        TEXT NOT NULL,
    version    INTEGER NOT NULL CHECK (version > 0),
    schema     TEXT CHECK (schema IS NULL OR json_valid(schema)),
    set_at     INTEGER NOT NULL,
    set_by     TEXT NOT NULL,
    PRIMARY KEY (namespace, key, version)
) STRICT, WITHOUT ROWID;
