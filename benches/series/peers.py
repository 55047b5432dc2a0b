"""Measures DuckDB, ArcticDB, Parquet and InfluxDB 2 on the very rows that the Rust program wrote.

`peers.py PLAN`: a JSON file that says where the columns are and what to ask. Prints one JSON object: of each peer its version, what its
durability is, and figures, each with its answer (rows, a sum), which the Rust program compares with its own. A peer that cannot be
loaded or fails says why, and the others go on.

Each peer does what its own documentation recommends: DuckDB gets data frames and is put in order afterwards, ArcticDB appends to a
symbol, Parquet has a file a symbol that is written once. Queries end with columns in memory.
"""

import json
import os
import statistics
import sys
import time
from importlib.metadata import version

import numpy as np

import influx

DAY_NS = 86_400_000_000_000
MINUTE_NS = 60_000_000_000


class Plan:
    def __init__(self, path):
        with open(path) as file:
            self.__dict__.update(json.load(file))

    def columns(self, table):
        """The columns of a table by name, `symbol` apart: mapped, so that no peer pays for reading them."""
        of = self.tables[table]
        folder = os.path.join(self.data, table)
        load = lambda name: np.fromfile(os.path.join(folder, name), "<i8" if name == "time" else "<f8")
        return {name: load(name) for name in of["columns"]}

    def batches(self, table):
        """(symbol, first row, row after the last) in the order in which all engines are fed."""
        of = self.tables[table]
        rows, step = of["rows"], of["batch"]
        for begin in range(0, rows, step):
            for symbol in range(of["symbols"]):
                yield symbol, symbol * rows + begin, symbol * rows + min(begin + step, rows)


def median_ms(rounds, ask):
    answer, taken = ask(), []
    for _ in range(rounds):
        begin = time.perf_counter()
        ask()
        taken.append((time.perf_counter() - begin) * 1e3)
    return statistics.median(taken), answer


def folder_bytes(path):
    """What is allocated: LMDB's file is mostly a hole."""
    return sum(os.stat(os.path.join(at, f)).st_blocks * 512 for at, _, files in os.walk(path) for f in files)


class Figures:
    def __init__(self):
        self.all = {}

    def timed(self, name, rounds, ask):
        value, (rows, total) = median_ms(rounds, ask)
        self.all[name] = {"value": value, "rows": int(rows), "sum": float(total)}

    def ingest(self, table, rows, seconds):
        self.all[f"{table}.ingest"] = {"value": rows / seconds}

    def bytes(self, table, rows, path):
        self.all[f"{table}.bytes"] = {"value": folder_bytes(path) / rows}


def duckdb(plan):
    import duckdb
    import pandas as pd

    out = Figures()
    for table, of in plan.tables.items():
        columns, total = plan.columns(table), of["rows"] * of["symbols"]
        folder = os.path.join(plan.work, f"duckdb-{table}")
        os.mkdir(folder)
        con = duckdb.connect(os.path.join(plan.work, f"fed-{table}.duckdb"))
        names = list(columns)
        fields = ", ".join(f"{n} {'BIGINT' if n == 'time' else 'DOUBLE'}" for n in names)
        con.execute(f"CREATE TABLE fed (symbol SMALLINT, {fields})")
        taken = 0.0
        for symbol, begin, end in plan.batches(table):
            batch = pd.DataFrame({n: c[begin:end] for n, c in columns.items()})
            clock = time.perf_counter()
            con.execute(f"INSERT INTO fed SELECT {symbol}, {', '.join(names)} FROM batch")
            taken += time.perf_counter() - clock
        out.ingest(table, total, taken)
        # In order, each symbol's rows are in few row groups, which their zone maps tell apart.
        con.execute(f"ATTACH '{os.path.join(folder, 'rows.duckdb')}' AS kept")
        con.execute("CREATE TABLE kept.rows AS SELECT * FROM fed ORDER BY symbol, time")
        con.execute("CHECKPOINT kept")
        con.close()
        out.bytes(table, total, folder)
        con = duckdb.connect(os.path.join(folder, "rows.duckdb"))
        listed = ", ".join(names)

        def columns_of(sql, *args, of="close"):
            found = con.execute(sql, args).fetchnumpy()
            return len(found[of]), found[of].sum()

        sum_of = of["sum"]
        start, end = of["range"]
        out.timed(
            f"{table}.range",
            15,
            lambda: columns_of(
                f"SELECT {listed} FROM rows WHERE symbol = ? AND time >= ? AND time < ? ORDER BY time",
                of["symbol"], start, end, of=sum_of,
            ),
        )
        out.timed(f"{table}.scan", 5, lambda: columns_of(f"SELECT symbol, {listed} FROM rows", of=sum_of))
        if table == "bars":
            bars = "arg_min(open, time) AS open, max(high) AS high, min(low) AS low, arg_max(close, time) AS close, sum(volume) AS volume"
            out.timed(
                "bars.resample",
                15,
                lambda: columns_of(
                    f"SELECT time // {DAY_NS} AS day, {bars} FROM rows WHERE symbol = ? GROUP BY day ORDER BY day", of["symbol"]
                ),
            )
            last = ", ".join(f"arg_max({n}, time) AS {n}" for n in names if n != "time")
            out.timed(
                "bars.latest", 15, lambda: columns_of(f"SELECT symbol, max(time) AS time, {last} FROM rows GROUP BY symbol")
            )
        if table == "ticks":
            bars = (
                "arg_min(price, time) AS open, max(price) AS high, min(price) AS low, arg_max(price, time) AS close,"
                " sum(size) AS volume"
            )
            out.timed(
                "ticks.resample",
                5,
                lambda: columns_of(f"SELECT time // {MINUTE_NS} AS minute, {bars} FROM rows GROUP BY minute ORDER BY minute"),
            )
        con.close()
    return "durable: the log is synced at each commit", out


def arcticdb(plan):
    import pandas as pd
    from arcticdb import Arctic, QueryBuilder

    out = Figures()
    for table, of in plan.tables.items():
        columns, total = plan.columns(table), of["rows"] * of["symbols"]
        folder = os.path.join(plan.work, f"arcticdb-{table}")
        lib = Arctic(f"lmdb://{folder}?map_size=8GB").create_library(table)
        times = columns.pop("time").astype("datetime64[ns]")
        taken = 0.0
        for symbol, begin, end in plan.batches(table):
            batch = pd.DataFrame({n: c[begin:end] for n, c in columns.items()}, index=pd.DatetimeIndex(times[begin:end]))
            clock = time.perf_counter()
            lib.append(str(symbol), batch, prune_previous_versions=True)
            taken += time.perf_counter() - clock
        out.ingest(table, total, taken)
        out.bytes(table, total, folder)
        symbol, sum_of = str(of["symbol"]), of["sum"]
        # Both ends of its range are in it.
        start, end = (pd.Timestamp(of["range"][0]), pd.Timestamp(of["range"][1] - 1))

        def summed(frame, column=sum_of):
            return len(frame), frame[column].sum()

        def each(frames, column=sum_of):
            parts = [summed(f, column) for f in frames]
            return sum(p[0] for p in parts), sum(p[1] for p in parts)

        names = [str(s) for s in range(of["symbols"])]
        out.timed(f"{table}.range", 15, lambda: summed(lib.read(symbol, date_range=(start, end)).data))
        out.timed(f"{table}.scan", 5, lambda: each(r.data for r in lib.read_batch(names)))
        if table == "bars":
            daily = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
            out.timed(
                "bars.resample", 15, lambda: summed(lib.read(symbol, query_builder=QueryBuilder().resample("1D").agg(daily)).data)
            )
            out.timed("bars.latest", 15, lambda: each(lib.tail(n, 1).data for n in names))
        if table == "ticks":
            bars = {
                "open": ("price", "first"), "high": ("price", "max"), "low": ("price", "min"),
                "close": ("price", "last"), "volume": ("size", "sum"),
            }
            out.timed(
                "ticks.resample",
                5,
                lambda: summed(lib.read(symbol, query_builder=QueryBuilder().resample("1min").agg(bars)).data.dropna(), "close"),
            )
    return "LMDB as ArcticDB opens it; its documentation does not say when it syncs", out


def parquet(plan):
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.dataset as ds
    import pyarrow.parquet as pq

    out = Figures()
    for table, of in plan.tables.items():
        columns, rows = plan.columns(table), of["rows"]
        total = rows * of["symbols"]
        folder = os.path.join(plan.work, f"parquet-{table}")
        os.mkdir(folder)
        path = lambda symbol: os.path.join(folder, f"{symbol}.parquet")
        taken = 0.0
        for symbol in range(of["symbols"]):
            whole = pa.table({n: c[symbol * rows : (symbol + 1) * rows] for n, c in columns.items()})
            clock = time.perf_counter()
            pq.write_table(whole, path(symbol), compression="zstd", row_group_size=65_536)
            taken += time.perf_counter() - clock
        out.ingest(table, total, taken)
        out.bytes(table, total, folder)
        start, end = of["range"]
        sum_of = of["sum"]

        def summed(found, column=sum_of):
            return found.num_rows, pc.sum(found[column]).as_py()

        def bars(every, open_, high, low, close, volume):
            names = sorted({open_, high, low, close, volume}) + ["time"]
            found = pq.read_table(path(of["symbol"]), columns=names)
            found = found.append_column("at", pc.divide(found["time"], every))
            wanted = [(open_, "first"), (high, "max"), (low, "min"), (close, "last"), (volume, "sum")]
            # First and last are by order, which threads do not keep.
            return summed(pa.TableGroupBy(found, "at", use_threads=False).aggregate(wanted), f"{close}_last")

        def latest():
            found = []
            for symbol in range(of["symbols"]):
                file = pq.ParquetFile(path(symbol))
                last = file.read_row_group(file.num_row_groups - 1)
                found.append(last.slice(last.num_rows - 1))
            return summed(pa.concat_tables(found))

        here = (ds.field("time") >= start) & (ds.field("time") < end)
        out.timed(f"{table}.range", 15, lambda: summed(ds.dataset(path(of["symbol"])).to_table(filter=here)))
        out.timed(f"{table}.scan", 5, lambda: summed(ds.dataset(folder).to_table()))
        if table == "bars":
            out.timed("bars.resample", 15, lambda: bars(DAY_NS, "open", "high", "low", "close", "volume"))
            out.timed("bars.latest", 15, latest)
        if table == "ticks":
            out.timed("ticks.resample", 5, lambda: bars(MINUTE_NS, "price", "price", "price", "price", "size"))
    return "not durable: written once per symbol, not synced", out


def influxdb(plan):
    out = Figures()
    return influx.measure(plan, out, folder_bytes), out


PEERS = [
    ("DuckDB", "duckdb", duckdb),
    ("ArcticDB", "arcticdb", arcticdb),
    ("Parquet", "pyarrow", parquet),
    ("InfluxDB 2 over HTTP", None, influxdb),
]


def main():
    plan = Plan(sys.argv[1])
    answers = []
    for peer, package, measure in PEERS:
        try:
            durability, figures = measure(plan)
            said = {"version": version(package) if package else "", "durability": durability, "figures": figures.all, "failed": None}
        except Exception as e:  # whatever it is, it is printed, and the next peer goes on
            said = {"version": "", "durability": "", "figures": {}, "failed": f"{type(e).__name__}: {e}"}
        answers.append({"peer": peer, **said})
    print(json.dumps(answers))


main()
