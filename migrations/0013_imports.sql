-- How far an import of a file is: the first rows of the file are in the series. It is there while an import goes on or was cut off.
CREATE TABLE series_imports(
    -- BLAKE3 of the file's contents and of how they are read.
    digest       TEXT PRIMARY KEY,
    bucket       TEXT NOT NULL,
    -- NULL: the file has several, or might.
    measurement  TEXT,
    file_rows    INTEGER NOT NULL CHECK (file_rows >= 0),
    noted_ns     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
