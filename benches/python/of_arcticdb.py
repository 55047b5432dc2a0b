"""ArcticDB on LMDB: batches are appended to a symbol, older versions pruned. It has no join as of a time: pandas joins what it reads."""

import os

import pandas as pd
from arcticdb import Arctic, QueryBuilder

import common
from common import Clock


def measure(plan, out):
    libraries = {table: feed(plan, table, out) for table in plan.tables}
    ask(plan, libraries, out)
    return "LMDB as ArcticDB opens it; its documentation does not say when it syncs"


def feed(plan, table, out):
    columns = plan.columns(table)
    folder = os.path.join(plan.work, f"arcticdb-{table}")
    library = Arctic(f"lmdb://{folder}?map_size=8GB").create_library(table)
    times = columns.pop("time").astype("datetime64[ns]")
    clock = Clock()
    for symbol, begin, end in plan.batches(table):
        batch = pd.DataFrame({n: c[begin:end] for n, c in columns.items()}, index=pd.DatetimeIndex(times[begin:end]))
        with clock:
            library.append(str(symbol), batch, prune_previous_versions=True)
    out.ingest(plan, table, clock.seconds)
    out.bytes(plan, table, folder)
    return library


def shown(found):
    """A frame, or one a symbol."""
    whole = found if isinstance(found, pd.DataFrame) else pd.concat(found)
    return whole.index, {name: whole[name].to_numpy() for name in whole}


def bars(open_, high, low, close, volume):
    return {"open": (open_, "first"), "high": (high, "max"), "low": (low, "min"), "close": (close, "last"), "volume": (volume, "sum")}


# Both ends of its range are in it.
def between(start, end):
    return pd.Timestamp(start), pd.Timestamp(end - 1)


def ask(plan, libraries, out):
    for table, of in plan.tables.items():
        library, symbol = libraries[table], str(of["symbol"])
        names = [str(s) for s in range(of["symbols"])]
        range_ = between(*of["range"])
        out.timed(f"{table}.range", lambda: library.read(symbol, date_range=range_).data, shown)
        out.timed(f"{table}.scan", lambda: [r.data for r in library.read_batch(names)], shown)
        out.timed(f"{table}.latest", lambda: [library.tail(n, 1).data for n in names], shown)

    def resampled(table, every, how):
        symbol = str(plan.tables[table]["symbol"])
        # A window without ticks is there without values.
        return lambda: libraries[table].read(symbol, query_builder=QueryBuilder().resample(every).agg(how)).data.dropna()

    out.timed("bars.resample", resampled("bars", "1D", bars("open", "high", "low", "close", "volume")), shown)
    out.timed("ticks.resample", resampled("ticks", "1min", bars(*["price"] * 4, "size")), shown)

    book = str(plan.tables["books"]["symbol"])

    def of_books(columns, what):
        def ask():
            found = libraries["books"].read(book, columns=columns).data
            return found.index, what(lambda name: found[name].to_numpy())
        return ask

    def minutes():
        found = libraries["books"].read(book, columns=common.MINUTELY).data
        return common.book_minutes(found.index.asi8, lambda name: found[name].to_numpy())

    out.timed("books.resample", minutes, common.shown_minutes)
    out.timed("books.top", of_books(common.TOP, common.top), lambda found: found)
    out.timed("books.depth", of_books(common.SIZES, common.depth), lambda found: found)

    for name, of in plan.asof.items():
        read = lambda table, symbol, columns, **how: (
            libraries[table].read(symbol, columns=columns, **how).data.reset_index(names="time")
        )
        def joined(of=of):
            left = read("ticks", "0", ["price"], date_range=between(*of["range"]))
            return common.asof(left, read(of["right"], str(of["symbol"]), of["fields"]), of["prefix"])
        out.timed(f"ticks.{name}", joined, common.shown_asof)
