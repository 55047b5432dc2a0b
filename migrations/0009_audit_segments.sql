-- The trail in segments: `audit` is the open one, a sealed one is a table of its own (`audit_segment_N`), so that it can be archived
-- whole while no single entry can be changed or taken away.
ALTER TABLE audit ADD COLUMN request TEXT;
CREATE INDEX audit_by_request ON audit(request, seq) WHERE request IS NOT NULL;
CREATE INDEX audit_by_time ON audit(time);

CREATE TABLE audit_segments(
    id           INTEGER PRIMARY KEY CHECK (id > 0),
    first_seq    INTEGER NOT NULL,
    last_seq     INTEGER NOT NULL CHECK (last_seq >= first_seq),
    -- Hash of the entry before the first, and of the last.
    previous     BLOB NOT NULL CHECK (length(previous) = 32),
    head         BLOB NOT NULL CHECK (length(head) = 32),
    sealed_at    INTEGER NOT NULL,
    -- Where its entries are, when they are not in a table of this database any more.
    store        TEXT,
    path         TEXT,
    -- BLAKE3 of that file's content.
    blake3       TEXT,
    archived_at  INTEGER,
    -- The checkpoint of its last entry, and its signature.
    document     TEXT,
    signature    TEXT
) STRICT;

CREATE TRIGGER audit_segments_stay BEFORE DELETE ON audit_segments
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
CREATE TRIGGER audit_segments_are_archived_once BEFORE UPDATE ON audit_segments
WHEN OLD.archived_at IS NOT NULL OR NEW.archived_at IS NULL OR OLD.id <> NEW.id OR OLD.first_seq <> NEW.first_seq
  OR OLD.last_seq <> NEW.last_seq OR OLD.previous <> NEW.previous OR OLD.head <> NEW.head
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;

-- What was signed, in order; kept elsewhere too, or it proves nothing.
CREATE TABLE audit_checkpoints(
    seq        INTEGER NOT NULL,
    signed_at  INTEGER NOT NULL,
    document   TEXT NOT NULL,
    signature  TEXT NOT NULL,
    PRIMARY KEY (seq, signed_at)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER audit_checkpoints_stay BEFORE DELETE ON audit_checkpoints
BEGIN SELECT RAISE(ABORT, 'checkpoints are append-only'); END;
CREATE TRIGGER audit_checkpoints_are_immutable BEFORE UPDATE ON audit_checkpoints
BEGIN SELECT RAISE(ABORT, 'checkpoints are append-only'); END;
