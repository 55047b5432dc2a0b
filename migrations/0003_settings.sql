-- Settings: every change is a revision; the newest revision of a key is its value, NULL when deleted.

CREATE TABLE setting_revisions(
    namespace   TEXT NOT NULL,
    key         TEXT NOT NULL,
    revision    INTEGER NOT NULL CHECK (revision > 0),
    value       TEXT CHECK (value IS NULL OR json_valid(value)),
    changed_at  INTEGER NOT NULL,
    changed_by  TEXT NOT NULL,
    PRIMARY KEY (namespace, key, revision)
) STRICT, WITHOUT ROWID;
