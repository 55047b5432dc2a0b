-- Every row of the catalogue guards itself, and every record of the log its place: a flipped bit in a name would
-- otherwise answer for another series. The code that applies this fills the columns in the same transaction.

-- over the columns before it
ALTER TABLE measurement ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0;
ALTER TABLE field ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0;
ALTER TABLE series ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0;

-- over the number, the length and the head of the body, which has a checksum of the rest
ALTER TABLE log ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0;
