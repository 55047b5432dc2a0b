"""Parquet by pyarrow: zstd, a file a symbol, written once and whole. It has no batches; pandas joins what is read as of a time."""

import os

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

import common
from common import DAY_NS, MINUTE_NS, Clock

ROW_GROUP = 65_536


def measure(plan, out):
    for table in plan.tables:
        write(plan, table, out)
    ask(plan, out)
    return "not durable: written once per symbol, not synced"


def folder(plan, table):
    return os.path.join(plan.work, f"parquet-{table}")


def path(plan, table, symbol):
    return os.path.join(folder(plan, table), f"{symbol}.parquet")


def write(plan, table, out):
    columns, rows = plan.columns(table), plan.tables[table]["rows"]
    os.mkdir(folder(plan, table))
    clock = Clock()
    for symbol in range(plan.tables[table]["symbols"]):
        whole = pa.table({n: c[symbol * rows : (symbol + 1) * rows] for n, c in columns.items()})
        with clock:
            pq.write_table(whole, path(plan, table, symbol), compression="zstd", row_group_size=ROW_GROUP)
    out.ingest(plan, table, clock.seconds)
    out.bytes(plan, table, folder(plan, table))


def shown(found):
    columns = {name: found[name].to_numpy() for name in found.column_names}
    return columns.pop("time"), columns


def ask(plan, out):
    def read(table, columns=None, start=None, end=None, symbol=None):
        symbol = plan.tables[table]["symbol"] if symbol is None else symbol
        here = None if start is None else (ds.field("time") >= start) & (ds.field("time") < end)
        return ds.dataset(path(plan, table, symbol)).to_table(columns=columns, filter=here)

    def latest(table):
        found = []
        for symbol in range(plan.tables[table]["symbols"]):
            file = pq.ParquetFile(path(plan, table, symbol))
            last = file.read_row_group(file.num_row_groups - 1)
            found.append(last.slice(last.num_rows - 1))
        return pa.concat_tables(found)

    for table, of in plan.tables.items():
        start, end = of["range"]
        out.timed(f"{table}.range", lambda: read(table, None, start, end), shown)
        out.timed(f"{table}.scan", lambda: ds.dataset(folder(plan, table)).to_table(), shown)
        out.timed(f"{table}.latest", lambda: latest(table), shown)

    def bars(table, every, *of):
        def ask():
            found = read(table, sorted(set(of)) + ["time"])
            found = found.append_column("at", pc.divide(found["time"], every))
            wanted = list(zip(of, ["first", "max", "min", "last", "sum"]))
            # First and last are by order, which threads do not keep.
            return pa.TableGroupBy(found, "at", use_threads=False).aggregate(wanted)

        def shown(found):
            names = [f"{field}_{function}" for field, function in zip(of, ["first", "max", "min", "last", "sum"])]
            columns = {short: found[name].to_numpy() for short, name in zip(["open", "high", "low", "close", "volume"], names)}
            return found["at"].to_numpy() * every, columns

        out.timed(f"{table}.resample", ask, shown)

    bars("bars", DAY_NS, "open", "high", "low", "close", "volume")
    bars("ticks", MINUTE_NS, *["price"] * 4, "size")

    def of_books(columns, what):
        def ask():
            found = read("books", ["time", *columns])
            return found["time"].to_numpy(), what(lambda name: found[name].to_numpy())
        return ask

    def minutes():
        found = read("books", ["time", *common.MINUTELY])
        return common.book_minutes(found["time"].to_numpy(), lambda name: found[name].to_numpy())

    out.timed("books.resample", minutes, common.shown_minutes)
    out.timed("books.top", of_books(common.TOP, common.top), lambda found: found)
    out.timed("books.depth", of_books(common.SIZES, common.depth), lambda found: found)

    for name, of in plan.asof.items():
        def joined(of=of):
            left = read("ticks", ["time", "price"], *of["range"])
            right = read(of["right"], ["time", *of["fields"]], symbol=of["symbol"])
            return common.asof(dated(left), dated(right), of["prefix"])
        out.timed(f"ticks.{name}", joined, common.shown_asof)


def dated(found):
    frame = found.to_pandas()
    frame["time"] = frame["time"].astype("datetime64[ns]")
    return frame
