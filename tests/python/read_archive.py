"""A file of an archive as it lies in its store, read by pyarrow, pandas, polars and DuckDB: every row as it was written."""

import datetime
import decimal
import os

import duckdb
import pandas as pd
import polars as pl
import pyarrow.parquet as pq

FILE, ROWS = os.environ["SHIPHOLD_FILE"], int(os.environ["SHIPHOLD_ROWS"])
START = datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc)

want = [
    (START + datetime.timedelta(minutes=i), decimal.Decimal(i) / 8 + 100, None if i % 3 == 0 else i, i % 2 == 0, f"n{i}")
    for i in range(ROWS)
]


def same(name, got):
    got = list(got)
    assert len(got) == ROWS, f"{name}: {len(got)} rows"
    for row, (g, w) in enumerate(zip(got, want)):
        assert tuple(g) == w, f"{name}, row {row}: {g}, not {w}"
    print(f"{name} ok")


def utc(value):
    stamp = pd.Timestamp(value)
    stamp = stamp.tz_localize("UTC") if stamp.tzinfo is None else stamp.tz_convert("UTC")
    return stamp.to_pydatetime()


def whole(value):
    return None if value is None or value != value else int(value)


COLUMNS = ["time", "price", "n", "flag", "text"]
table = pq.read_table(FILE)
assert table.column("measurement").to_pylist() == ["m"] * ROWS
assert table.column("tag:venue").to_pylist() == ["XNAS"] * ROWS
same("pyarrow", ((utc(t), *rest) for t, *rest in zip(*(table.column(c).to_pylist() for c in COLUMNS))))
frame = pd.read_parquet(FILE)
same("pandas", ((utc(t), p, whole(n), bool(f), s) for t, p, n, f, s in frame[COLUMNS].itertuples(index=False)))
same("polars", ((utc(t), *rest) for t, *rest in pl.read_parquet(FILE).select(COLUMNS).rows()))
rows = duckdb.sql(f"SELECT epoch_ns(time), {', '.join(COLUMNS[1:])} FROM '{FILE}' ORDER BY time").fetchall()
same("duckdb", ((START + datetime.timedelta(microseconds=(t - 1_704_067_200_000_000_000) // 1000), *rest) for t, *rest in rows))
