-- Trading skills: immutable versions, a current-version pointer, dependencies, proven performance, usage.

CREATE TABLE skills(
    id          INTEGER PRIMARY KEY,
    name        TEXT NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 128),
    current_id  INTEGER REFERENCES skill_versions(id) DEFERRABLE INITIALLY DEFERRED,
    uses        INTEGER NOT NULL DEFAULT 0,
    last_used   INTEGER,
    created_at  INTEGER NOT NULL
) STRICT;

CREATE TABLE skill_versions(
    id           INTEGER PRIMARY KEY,
    skill_id     INTEGER NOT NULL REFERENCES skills(id),
    version      TEXT NOT NULL,
    hash         TEXT NOT NULL CHECK (length(hash) = 64),
    language     TEXT NOT NULL,
    code         TEXT NOT NULL,
    description  TEXT NOT NULL,
    tags         TEXT NOT NULL CHECK (json_valid(tags)),
    metadata     TEXT NOT NULL CHECK (json_valid(metadata)),
    depends      TEXT NOT NULL CHECK (json_valid(depends)),
    created_at   INTEGER NOT NULL,
    created_by   TEXT NOT NULL,
    UNIQUE (skill_id, version)
) STRICT;

CREATE TRIGGER skill_versions_are_immutable BEFORE UPDATE ON skill_versions
BEGIN SELECT RAISE(ABORT, 'skill versions are immutable'); END;
CREATE TRIGGER skill_versions_stay BEFORE DELETE ON skill_versions
BEGIN SELECT RAISE(ABORT, 'skill versions are never deleted'); END;

-- One row per skill: its current version's tags.
CREATE TABLE skill_tags(
    tag       TEXT NOT NULL,
    skill_id  INTEGER NOT NULL REFERENCES skills(id),
    PRIMARY KEY (tag, skill_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX skill_tags_by_skill ON skill_tags(skill_id);

CREATE TABLE skill_performance(
    id            INTEGER PRIMARY KEY,
    version_id    INTEGER NOT NULL REFERENCES skill_versions(id),
    period_start  INTEGER NOT NULL,
    period_end    INTEGER NOT NULL CHECK (period_end > period_start),
    returns       REAL NOT NULL,
    sharpe        REAL NOT NULL,
    win_rate      REAL NOT NULL CHECK (win_rate BETWEEN 0 AND 1),
    max_drawdown  REAL NOT NULL CHECK (max_drawdown BETWEEN 0 AND 1),
    samples       INTEGER NOT NULL CHECK (samples > 0),
    recorded_at   INTEGER NOT NULL,
    recorded_by   TEXT NOT NULL
) STRICT;
CREATE INDEX skill_performance_by_version ON skill_performance(version_id, period_end);

-- Full text of the current versions, rowid = skills.id. `prefix` answers words that are still being typed.
CREATE VIRTUAL TABLE skill_text USING fts5(
    name, description, tags, tokenize = 'porter unicode61 remove_diacritics 2', prefix = '2 3'
);
-- The same for misspelt words: any three letters in a row.
CREATE VIRTUAL TABLE skill_trigrams USING fts5(
    name, description, tags, tokenize = 'trigram remove_diacritics 1', detail = none
);
