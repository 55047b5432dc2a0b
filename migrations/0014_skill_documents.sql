-- What is searched of the current version of each skill, apart from its code, which may be long. Questions are answered from an
-- index in memory that is made of these rows; the full-text tables that they replace cost a write more than they were worth.

CREATE TABLE skill_documents(
    skill_id     INTEGER PRIMARY KEY REFERENCES skills(id),
    version_id   INTEGER NOT NULL REFERENCES skill_versions(id),
    name         TEXT NOT NULL,
    description  TEXT NOT NULL,
    tags         TEXT NOT NULL CHECK (json_valid(tags)),
    language     TEXT NOT NULL,
    created_by   TEXT NOT NULL
) STRICT;

INSERT INTO skill_documents(skill_id, version_id, name, description, tags, language, created_by)
SELECT s.id, v.id, s.name, v.description, v.tags, v.language, v.created_by
FROM skills s JOIN skill_versions v ON v.id = s.current_id;

DROP TABLE skill_text;
DROP TABLE skill_trigrams;
DROP TABLE skill_terms;
