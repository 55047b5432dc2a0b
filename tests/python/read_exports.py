"""What the host exports, read by pyarrow, pandas, polars and DuckDB; and what they write, imported. Every cell is compared, floats
bit for bit."""

import datetime
import decimal
import io
import json
import math
import os
import random
import struct
import tempfile
import urllib.error
import urllib.parse
import urllib.request

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

URL, TOKEN = os.environ["SHIPHOLD_URL"], os.environ["SHIPHOLD_TOKEN"]


def post(path, body, **query):
    query = urllib.parse.urlencode({k: v for k, v in query.items() if v is not None})
    data = body if isinstance(body, bytes) else body.encode()
    request = urllib.request.Request(f"{URL}{path}?{query}", data, {"Authorization": f"Bearer {TOKEN}"})
    if path.endswith(("export", "query")):
        request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request) as answer:
        return answer.read()


def query(measurement, **more):
    asked = {"measurement": measurement, "start": -(2**63) + 2, "end": 2**63 - 1, "limit": 1_000_000, **more}
    table = json.loads(post("/v1/series/query", json.dumps(asked)))
    return {column["name"]: column["values"] for column in table["columns"]}


def load(content, **how):
    return json.loads(post("/v1/series/import", content, **how))


def bits(value):
    return None if value is None or value != value else struct.pack(">d", value)


def same(got, want, what):
    assert len(got) == len(want), f"{what}: {len(got)} rows, not {len(want)}"
    for row, (g, w) in enumerate(zip(got, want)):
        if isinstance(w, float) or isinstance(g, float):
            equal = bits(g) == bits(float(w) if w is not None else None)
        else:
            equal = g == w and type(g) is type(w)
        assert equal, f"{what}, row {row}: {g!r}, not {w!r}"
    return len(want)


# What the host exports.

random.seed(11)
COUNT = 5_000
TIMES = sorted(random.sample(range(-(10**18), 2 * 10**18), COUNT))
TEXTS = ["", "\\", "plain", 'a,"b"', "line\nbreak", "ü 日本 🚀", "NaN", " spaces "]
PLACES = ["Zürich", "東京", "New York"]


def any_float():
    while True:
        value = struct.unpack(">d", random.randbytes(8))[0]
        if math.isfinite(value):
            return value


ROWS = [
    {
        "time": t,
        "tag:venue": random.choice(PLACES),
        "f": any_float(),
        "i": random.choice([None, random.randint(-(2**63), 2**63 - 1)]),
        "u": random.choice([None, random.randint(0, 2**64 - 1)]),
        "b": random.choice([None, True, False]),
        "s": random.choice([None, *TEXTS]),
    }
    for t in TIMES
]
ROWS[0]["f"], ROWS[1]["f"], ROWS[2]["f"] = -0.0, 5e-324, 1.7976931348623157e308


def line(row):
    def text(s):
        return '"' + s.replace("\\", "\\\\").replace('"', '\\"') + '"'

    venue = row["tag:venue"].replace(" ", "\\ ")
    cells = [f"f={row['f']!r}"]
    cells += [f"{k}={row[k]}{suffix}" for k, suffix in (("i", "i"), ("u", "u")) if row[k] is not None]
    cells += [f"b={str(row['b']).lower()}"] if row["b"] is not None else []
    cells += [f"s={text(row['s'])}"] if row["s"] is not None else []
    return f"export,venue={venue} {','.join(cells)} {row['time']}"


post("/api/v2/write", "\n".join(map(line, ROWS)), org="o", bucket="market", precision="ns")
WANT = sorted(ROWS, key=lambda row: (row["tag:venue"].encode(), row["time"]))
ASKED = json.dumps({"measurement": "export"})
parquet = post("/v1/series/export", ASKED, format="parquet")
csv = post("/v1/series/export", ASKED, format="csv")
cells = 0

table = pq.read_table(io.BytesIO(parquet))
assert table.schema.field("time").type == pa.timestamp("ns", "UTC"), table.schema
assert table.schema.field("u").type == pa.uint64() and table.schema.field("s").type == pa.string()
assert table.column("measurement").unique().to_pylist() == ["export"]
cells += same(table.column("time").cast(pa.int64()).to_pylist(), [r["time"] for r in WANT], "pyarrow time")
for name in ("tag:venue", "f", "i", "u", "b", "s"):
    cells += same(table.column(name).to_pylist(), [r[name] for r in WANT], f"pyarrow {name}")

frame = pd.read_parquet(io.BytesIO(parquet), dtype_backend="pyarrow")
cells += same([t.value for t in frame["time"]], [r["time"] for r in WANT], "pandas time")
for name in ("tag:venue", "f", "i", "u", "b", "s"):
    got = [None if v is pd.NA or v is None else v for v in frame[name].tolist()]
    cells += same(got, [r[name] for r in WANT], f"pandas {name}")

frame = pl.read_parquet(io.BytesIO(parquet))
cells += same(frame["time"].cast(pl.Int64).to_list(), [r["time"] for r in WANT], "polars time")
for name in ("tag:venue", "f", "i", "u", "b", "s"):
    cells += same(frame[name].to_list(), [r[name] for r in WANT], f"polars {name}")

with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "e.parquet")
    open(path, "wb").write(parquet)
    for name in ("tag:venue", "f", "i", "u", "b", "s"):
        got = [v for (v,) in duckdb.sql(f"SELECT \"{name}\" FROM '{path}'").fetchall()]
        cells += same(got, [r[name] for r in WANT], f"duckdb {name}")

head = csv.decode().split("\n", 1)[0]
assert head == "time,measurement,tag:venue,b:boolean,f:float,i:integer,s:string,u:unsigned", head
frame = pd.read_csv(io.BytesIO(csv), dtype=str, keep_default_na=False)
cells += same([pd.Timestamp(t).value for t in frame["time"]], [r["time"] for r in WANT], "CSV time")
KINDS = {"f:float": float, "i:integer": int, "u:unsigned": int, "b:boolean": "true".__eq__}
for name, made in KINDS.items():
    got = [None if v == "" else made(v) for v in frame[name]]
    cells += same(got, [r[name.split(":")[0]] for r in WANT], f"CSV {name}")
got = [None if v == "" else v.removeprefix("\\") for v in frame["s:string"]]
cells += same(got, [r["s"] for r in WANT], "CSV s")
print(f"exports ok: {cells} cells are the same")

# An export comes back as it was, also after pyarrow, pandas and polars wrote it anew.


def stored(measurement, bucket="market", names=("time", "venue", "f", "i", "u", "b", "s")):
    columns = query(measurement, bucket=bucket)
    rows = zip(*(columns[name] for name in names))
    return sorted(rows, key=lambda row: (row[1].encode(), row[0]))


BEFORE = stored("export")
assert len(BEFORE) == COUNT


def written(write):
    out = io.BytesIO()
    write(out)
    return out.getvalue()


def with_arrow(**how):
    return written(lambda out: pq.write_table(table, out, **how))


FILES = {"parquet": parquet, "csv": csv}
for codec in ("zstd", "snappy", "gzip", "none"):
    FILES[f"arrow-{codec}"] = with_arrow(compression=codec)
FILES["arrow-groups"] = with_arrow(row_group_size=777, data_page_size=1_000)
FILES["arrow-plain"] = with_arrow(use_dictionary=False)
FILES["arrow-v2"] = with_arrow(data_page_version="2.0", version="2.6")
FILES["arrow-split"] = with_arrow(use_dictionary=False, use_byte_stream_split=["f"])
FILES["arrow-delta"] = with_arrow(
    use_dictionary=False,
    column_encoding={"i": "DELTA_BINARY_PACKED", "u": "DELTA_BINARY_PACKED", "s": "DELTA_LENGTH_BYTE_ARRAY"},
)
FILES["pandas"] = written(
    lambda out: pd.read_parquet(io.BytesIO(parquet), dtype_backend="pyarrow").to_parquet(out, index=False)
)
FILES["polars"] = written(pl.read_parquet(io.BytesIO(parquet)).write_parquet)
FILES["polars-snappy"] = written(lambda out: pl.read_parquet(io.BytesIO(parquet)).write_parquet(out, compression="snappy"))
for name, content in FILES.items():
    said = load(content, bucket=name)
    assert said["rows"] == COUNT and said["written"] == COUNT and said["dropped"] == 0, said
    after = stored("export", bucket=name)
    for g, w in zip(after, BEFORE, strict=True):
        assert g == w and bits(g[2]) == bits(w[2]), f"{name}: {g} is not {w}"
print(f"round trips ok: {len(FILES)} files")

# What others have in their own files.

N = 3_000
start = pd.Timestamp("2024-03-08 14:30:00.123456789", tz="UTC")
clock = pd.date_range(start, periods=N, freq="61s", tz="UTC")
prices = pd.DataFrame(
    {
        "ts": clock,
        "sym": pd.Categorical([("AAPL", "KO", "MSFT")[i % 3] for i in range(N)]),
        "px": [float("nan") if i % 10 == 0 else i / 7 for i in range(N)],
        "single": pd.array([i / 3 for i in range(N)], dtype="float32"),
        "qty": pd.array([None if i % 4 == 0 else i for i in range(N)], dtype="Int32"),
        "side": [None if i % 5 == 0 else "bu" + "y" * (i % 3) for i in range(N)],
        "ok": pd.array([None if i % 6 == 0 else i % 2 == 0 for i in range(N)], dtype="boolean"),
    }
)
MAPPED = {"time": "ts", "tags": "symbol=sym", "measurement": "tick"}


def check(label, content, bucket, times=None, compared=("px", "single", "qty", "side", "ok"), **how):
    said = load(content, bucket=bucket, **{**MAPPED, **how})
    assert said["rows"] == N and said["dropped"] == 0, (label, said)
    times = times or [t.value for t in clock]
    total = 0
    for symbol in ("AAPL", "KO", "MSFT"):
        got = query(f"tick.{symbol}", bucket=bucket)
        chosen = [i for i in range(N) if prices["sym"][i] == symbol]
        total += same(got["time"], [times[i] for i in chosen], f"{label} time")
        for name in compared:
            column = prices[name].astype(object)
            want = [None if pd.isna(column[i]) else column[i] for i in chosen]
            want = [float(w) if name in ("single", "px") and w is not None else w for w in want]
            want = [bool(w) if name == "ok" and w is not None else w for w in want]
            got_cells = got[name]
            if how.get("texts"):
                got_cells = [None if g is None else g for g in got_cells]
            total += same(got_cells, want, f"{label} {name}")
    return total


cells = 0
for engine_how in ({"compression": "zstd"}, {"compression": "snappy", "row_group_size": 500}, {"compression": "gzip"}):
    content = written(lambda out: prices.to_parquet(out, index=False, **engine_how))
    cells += check("pandas", content, f"p-{engine_how['compression']}")
# The same instants on the clocks of New York, with and without their zone, and in coarser units.
eastern = prices.assign(ts=clock.tz_convert("America/New_York"))
cells += check("aware", written(lambda out: eastern.to_parquet(out, index=False)), "p-aware")
naive = prices.assign(ts=clock.tz_convert("America/New_York").tz_localize(None))
content = written(lambda out: naive.to_parquet(out, index=False))
cells += check("naive", content, "p-naive", timezone="America/New_York")
for unit, ns in (("ms", 1_000_000), ("us", 1_000)):
    coarse = [t.value // ns * ns for t in clock]
    content = written(
        lambda out: prices.to_parquet(out, index=False, coerce_timestamps=unit, allow_truncated_timestamps=True)
    )
    cells += check(unit, content, f"p-{unit}", times=coarse)
    numbers = prices.assign(ts=[t.value // ns for t in clock])
    content = written(lambda out: numbers.to_parquet(out, index=False))
    cells += check(f"numbers of {unit}", content, f"n-{unit}", times=coarse, unit=unit)
content = written(lambda out: prices.to_parquet(out, index=False, use_deprecated_int96_timestamps=True))
cells += check("INT96", content, "p-96")
# The index of a frame is its time.
indexed = prices.set_index("ts")
cells += check("index", written(lambda out: indexed.to_parquet(out)), "p-index")

polar = pl.from_pandas(prices.assign(sym=prices["sym"].astype(str)))
cells += check("polars", written(polar.write_parquet), "polars-own")
with tempfile.TemporaryDirectory() as folder:
    plain = prices.assign(sym=prices["sym"].astype(str))
    for how in ("", ", COMPRESSION zstd", ", COMPRESSION gzip, ROW_GROUP_SIZE 1000", ", PARQUET_VERSION v2"):
        path = os.path.join(folder, "d.parquet")
        # DuckDB keeps microseconds of instants with a zone.
        duckdb.sql(f"COPY (SELECT * FROM plain) TO '{path}' (FORMAT parquet{how})")
        bucket = f"duck{len(how)}"
        times = [t.value // 1_000 * 1_000 for t in clock]
        cells += check(f"duckdb{how}", open(path, "rb").read(), bucket, times=times)
    path = os.path.join(folder, "d.csv")
    duckdb.sql(f"COPY (SELECT * FROM plain) TO '{path}' (FORMAT csv, HEADER)")
    typed = {"fields": "px,single,qty:integer,side,ok"}
    cells += check("duckdb CSV", open(path, "rb").read(), "duck-csv", times=times, compared=("px", "qty", "side", "ok"), **typed)
cells += check("pandas CSV", prices.to_csv(index=False), "pandas-csv", compared=("px", "qty", "side", "ok"), **typed)
cells += check("polars CSV", polar.write_csv(), "polars-csv", compared=("px", "qty", "side", "ok"), **typed)
out = io.BytesIO()
pyarrow.csv.write_csv(pa.Table.from_pandas(plain, preserve_index=False), out)
cells += check("pyarrow CSV", out.getvalue(), "arrow-csv", compared=("px", "qty", "side", "ok"), **typed)
print(f"imports ok: {cells} cells are the same")

# Decimals are floats where a float is the same number; what no field holds is refused by name.


def refused(content, words, **how):
    try:
        said = load(content, bucket="refused", measurement="m", **how)
    except urllib.error.HTTPError as e:
        problem = json.load(e)
        told = f"{problem['detail']} {problem.get('hint')}"
        assert e.code in (400, 413) and all(w in told for w in words), told
    else:
        raise AssertionError(f"{words}: {said}")


def of(v, **how):
    times = pa.array([1_000_000_000], pa.timestamp("ns"))
    return written(lambda out: pq.write_table(pa.table({"time": times, "v": v}), out, **how))


D = decimal.Decimal
load(of(pa.array([D("189.70")], pa.decimal128(12, 2))), bucket="decimals", measurement="m")
assert query("m", bucket="decimals")["v"] == [189.7]
refused(of(pa.array([D("9007199254740.9931")], pa.decimal128(20, 4))), ["`v`", "9007199254740.9931"])
refused(of(pa.array([[1, 2]], pa.list_(pa.int64()))), ["v.", "fields"])
refused(of(pa.array([{"a": 1}])), ["v.a", "fields"])
refused(of(pa.array([datetime.time(1)])), ["`v`", "fields"])
refused(of(pa.array([float("inf")])), ["row 1", "`v`"])
refused(of(pa.array([1.0]), compression="brotli"), ["Brotli", "zstd"])
refused(of(pa.array(["a"]), use_dictionary=False, column_encoding={"v": "DELTA_BYTE_ARRAY"}), ["`v`", "PLAIN"])
print("refusals ok")

# Where the manifest declares decimals of eight digits, others' decimals are taken to the last digit, and read again so.

PRICES = [D("92233720368.54775807"), D("-92233720368.54775808"), D("0.10"), None, D("123456789.01234567")]
WANT = [None if p is None else f"{p:.8f}" for p in PRICES]
STAMPS = [i * 1_000_000_000 for i in range(len(PRICES))]
clocks = pa.array(STAMPS, pa.timestamp("ns", "UTC"))
count = 0
for precision, scale in ((19, 8), (24, 8), (38, 10), (76, 12)):
    kind = pa.decimal128(precision, scale) if precision <= 38 else pa.decimal256(precision, scale)
    table = pa.table({"time": clocks, "price": pa.array(PRICES, kind)})
    for how in ({}, {"use_dictionary": False, "compression": "snappy"}):
        content = written(lambda out: pq.write_table(table, out, **how))
        load(content, bucket="exact", measurement=f"arrow{precision}")
        got = query(f"arrow{precision}", bucket="exact")["price"]
        count += same(got, [w for w in WANT if w is not None], f"pyarrow {precision}, {scale}")
small = pa.table({"time": clocks[:2], "price": pa.array([D("-1.25"), D("7.5")], pa.decimal128(9, 2))})
content = written(lambda out: pq.write_table(small, out, store_decimal_as_integer=True))
load(content, bucket="exact", measurement="small")
count += same(query("small", bucket="exact")["price"], ["-1.25000000", "7.50000000"], "pyarrow INT32")
frame = pd.DataFrame({"time": pd.to_datetime(STAMPS, utc=True), "price": PRICES})
load(written(lambda out: frame.to_parquet(out, index=False)), bucket="exact", measurement="pandas")
# DuckDB takes no decimals of 256 bits.
known = pa.table({"time": clocks, "price": pa.array(PRICES, pa.decimal128(38, 8))})
with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "d.parquet")
    for at, width in enumerate(("DECIMAL(18, 8)", "DECIMAL(30, 8)")):
        chosen = known if at else known.slice(2)
        duckdb.sql(f"COPY (SELECT time, price::{width} AS price FROM chosen) TO '{path}' (FORMAT parquet)")
        load(open(path, "rb").read(), bucket="exact", measurement=f"duckdb{at}")
        got = query(f"duckdb{at}", bucket="exact")["price"]
        count += same(got, [w for w in WANT[0 if at else 2 :] if w is not None], width)
polar = pl.DataFrame({"time": pl.Series(STAMPS).cast(pl.Datetime("ns", "UTC")), "price": pl.Series(PRICES, dtype=pl.Decimal(38, 8))})
load(written(polar.write_parquet), bucket="exact", measurement="polars")
for name in ("pandas", "polars"):
    count += same(query(name, bucket="exact")["price"], [w for w in WANT if w is not None], name)
# What the host writes, they read.
exported = post("/v1/series/export", json.dumps({"bucket": "exact", "measurement": "polars"}), format="parquet")
there = [p for p in PRICES if p is not None]
path = os.path.join(tempfile.mkdtemp(), "e.parquet")
open(path, "wb").write(exported)
for label, got in (
    ("pyarrow", pq.read_table(path).column("price").to_pylist()),
    ("pandas", list(pd.read_parquet(path)["price"])),
    ("polars", pl.read_parquet(path)["price"].to_list()),
    ("duckdb", [row[0] for row in duckdb.sql(f"SELECT price FROM '{path}' ORDER BY time").fetchall()]),
):
    assert got == there and all(isinstance(g, D) for g in got), f"{label}: {got}"
    count += len(got)
try:
    load(of(pa.array([D("1.000000001")], pa.decimal128(12, 9))), bucket="exact", measurement="m", fields="price=v")
except urllib.error.HTTPError as e:
    problem = json.load(e)
    assert e.code == 400 and all(w in problem["detail"] for w in ("row 1", "1.000000001", "decimal(8)")), problem
else:
    raise AssertionError("nine digits were taken")
print(f"decimals ok: {count} cells are the same")
