-- Where versions of skills come from, what they may be used for, which one was current when, and what came in with a file.

-- Files that were taken in, by what they hold: the same content again is the same import.
CREATE TABLE skill_imports(
    id           INTEGER PRIMARY KEY,
    digest       TEXT NOT NULL UNIQUE CHECK (length(digest) = 64),
    -- `library/1`, `voyager`
    format       TEXT NOT NULL,
    imported_at  INTEGER NOT NULL,
    imported_by  TEXT NOT NULL
) STRICT;

-- A version without a row came without any of this.
CREATE TABLE skill_provenance(
    version_id  INTEGER PRIMARY KEY REFERENCES skill_versions(id),
    -- Who wrote it: a person or a model. Who stored it is `skill_versions.created_by`.
    author      TEXT,
    -- What it was made from; of another skill, if it is a fork.
    parent_id   INTEGER REFERENCES skill_versions(id),
    -- What a model was asked, and in which run.
    prompt      TEXT,
    run         TEXT,
    import_id   INTEGER REFERENCES skill_imports(id)
) STRICT;

-- The newest row of a version counts; a version without a row is active.
CREATE TABLE skill_statuses(
    id          INTEGER PRIMARY KEY,
    version_id  INTEGER NOT NULL REFERENCES skill_versions(id),
    status      TEXT NOT NULL CHECK (status IN ('draft', 'active', 'retired')),
    reason      TEXT,
    set_at      INTEGER NOT NULL,
    set_by      TEXT NOT NULL
) STRICT;
CREATE INDEX skill_statuses_by_version ON skill_statuses(version_id, set_at);

-- That of its current version, for lists and searches.
ALTER TABLE skills ADD COLUMN status TEXT NOT NULL DEFAULT 'active' CHECK (status IN ('draft', 'active', 'retired'));

-- Which version was the current one from when on.
CREATE TABLE skill_currents(
    id          INTEGER PRIMARY KEY,
    skill_id    INTEGER NOT NULL REFERENCES skills(id),
    version_id  INTEGER NOT NULL REFERENCES skill_versions(id),
    since       INTEGER NOT NULL,
    set_by      TEXT NOT NULL
) STRICT;
CREATE INDEX skill_currents_by_skill ON skill_currents(skill_id, since);

-- A version that was stored became current. When somebody rolled back is not known here: it counts from now on.
INSERT INTO skill_currents(skill_id, version_id, since, set_by)
    SELECT skill_id, id, created_at, created_by FROM skill_versions ORDER BY id;
INSERT INTO skill_currents(skill_id, version_id, since, set_by)
    SELECT s.id, s.current_id,
           max(unixepoch() * 1000000000, (SELECT max(x.since) + 1 FROM skill_currents x WHERE x.skill_id = s.id)), 'migration'
    FROM skills s
    WHERE s.current_id <> (SELECT h.version_id FROM skill_currents h WHERE h.skill_id = s.id ORDER BY h.since DESC, h.id DESC LIMIT 1);

-- What was believed on a day is what had been recorded by then.
ALTER TABLE skill_performance ADD COLUMN import_id INTEGER REFERENCES skill_imports(id);
CREATE INDEX skill_performance_by_record ON skill_performance(version_id, recorded_at);

CREATE TRIGGER skill_provenance_is_immutable BEFORE UPDATE ON skill_provenance
BEGIN SELECT RAISE(ABORT, 'the provenance of a version is immutable'); END;
CREATE TRIGGER skill_provenance_stays BEFORE DELETE ON skill_provenance
BEGIN SELECT RAISE(ABORT, 'the provenance of a version is never deleted'); END;
CREATE TRIGGER skill_statuses_are_immutable BEFORE UPDATE ON skill_statuses
BEGIN SELECT RAISE(ABORT, 'the statuses of versions are only added to'); END;
CREATE TRIGGER skill_statuses_stay BEFORE DELETE ON skill_statuses
BEGIN SELECT RAISE(ABORT, 'the statuses of versions are only added to'); END;
CREATE TRIGGER skill_currents_are_immutable BEFORE UPDATE ON skill_currents
BEGIN SELECT RAISE(ABORT, 'which version was current is only added to'); END;
CREATE TRIGGER skill_currents_stay BEFORE DELETE ON skill_currents
BEGIN SELECT RAISE(ABORT, 'which version was current is only added to'); END;
