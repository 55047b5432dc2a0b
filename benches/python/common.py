"""What all peers share: the rows, the clock, the digest by which answers are compared, and what pandas does for stores that only read."""

import json
import os
import statistics
import time

import numpy as np
import pandas as pd

DAY_NS = 86_400_000_000_000
MINUTE_NS = 60_000_000_000
LEVELS = 10

# Rounds of a query at most; `benches/series/answer.rs` has as many.
ROUNDS_MAX = 101

# The sizes that depth and imbalance need, and what `books.top` and `books.depth` give.
SIDES = ("bid", "ask")
TOP = ["bid_price_1", "bid_size_1", "ask_price_1", "ask_size_1"]
SIZES = [f"{side}_size_{level}" for side in SIDES for level in range(1, LEVELS + 1)]
IMBALANCE_LEVELS = 5
MINUTELY = ["bid_price_1", "ask_price_1"] + [f"{side}_size_{level}" for side in SIDES for level in range(1, IMBALANCE_LEVELS + 1)]


class Plan:
    """What the Rust program wrote down: where the columns are, and what to ask."""

    def __init__(self, path):
        with open(path) as file:
            self.__dict__.update(json.load(file))

    def columns(self, table):
        """The columns of a table by name, one series after another."""
        folder = os.path.join(self.data, table)
        load = lambda name: np.fromfile(os.path.join(folder, name), "<i8" if name == "time" else "<f8")
        return {name: load(name) for name in self.tables[table]["columns"]}

    def batches(self, table):
        """(symbol, first row, row after the last) in the order in which all engines are fed."""
        of = self.tables[table]
        rows, step = of["rows"], of["batch"]
        for begin in range(0, rows, step):
            for symbol in range(of["symbols"]):
                yield symbol, symbol * rows + begin, symbol * rows + min(begin + step, rows)

    def rows(self, table):
        return self.tables[table]["rows"] * self.tables[table]["symbols"]


def digest(times, columns):
    """Rows, and of each column a number that any other value, or the same value at another time, would change: the sum, modulo 2⁶⁴, of
    (1 + the value in steps of 10⁻⁴) × (its row's time | 1). Where there is no value nothing is added. `benches/series/answer.rs` has it too."""
    times = np.asarray(times).astype("int64").view("u8")
    weights = times | np.uint64(1)

    def one(values):
        here = ~np.ma.getmaskarray(values)
        values = np.ma.getdata(values)
        if values.dtype.kind == "M":
            here, values = here & ~np.isnat(values), values.astype("datetime64[ns]").astype("int64")
        elif values.dtype.kind == "f":
            here &= ~np.isnan(values)
        values = values[here]
        steps = values.astype("int64") if values.dtype.kind in "iu" else np.rint(values * 1e4).astype("int64")
        return f"{int(((steps.view('u8') + np.uint64(1)) * weights[here]).sum(dtype='u8')):016x}"

    told = {name: one(np.ma.asarray(values)) for name, values in columns.items()}
    return {"rows": len(times), "columns": {"time": one(np.ma.asarray(times.view("i8"))), **told}}


def folder_bytes(path):
    """What is allocated: LMDB's file is mostly a hole."""
    return sum(os.stat(os.path.join(at, f)).st_blocks * 512 for at, _, files in os.walk(path) for f in files)


class Figures:
    """A query is asked once for its answer, which counts if it took `timed_s`; else again for as long, and the median counts."""

    def __init__(self, timed_s):
        self.all, self.timed_s = {}, timed_s

    def timed(self, name, ask, shown):
        """Milliseconds of `ask`; `shown` gives the times and columns of its answer, when the clock has stopped."""
        begin = time.perf_counter()
        found = ask()
        first = time.perf_counter() - begin
        answer = digest(*shown(found))
        taken = []
        while first < self.timed_s and len(taken) < ROUNDS_MAX and sum(taken) < self.timed_s:
            del found
            begin = time.perf_counter()
            found = ask()
            taken.append(time.perf_counter() - begin)
        self.all[name] = {"value": statistics.median(taken or [first]) * 1e3, "answer": answer}

    def ingest(self, plan, table, seconds):
        self.all[f"{table}.ingest"] = {"value": plan.rows(table) / seconds}

    def bytes(self, plan, table, path):
        self.all[f"{table}.bytes"] = {"value": folder_bytes(path) / plan.rows(table)}


class Clock:
    """Seconds spent within `with`."""

    def __init__(self):
        self.seconds = 0.0

    def __enter__(self):
        self.begin = time.perf_counter()

    def __exit__(self, *_):
        self.seconds += time.perf_counter() - self.begin


def asof(left, right, joined):
    """The row of `right` at the time of each row of `left` or before: both have a column `time`, of datetimes, for a whole number would
    become a float where there is no such row."""
    right = right.rename(columns={name: joined + name for name in right})
    return pd.merge_asof(left, right, left_on="time", right_on=f"{joined}time")


def shown_asof(found):
    return found["time"], {name: found[name].to_numpy() for name in found if name != "time"}


def top(of):
    """`of` gives a stored column; the best of both sides, spread and middle."""
    bid, bid_size, ask, ask_size = map(of, TOP)
    return {
        "best_bid": bid, "best_bid_size": bid_size, "best_ask": ask, "best_ask_size": ask_size,
        "spread": ask - bid, "mid": (bid + ask) / 2,
    }


def summed(of, side, levels):
    total = of(f"{side}_size_1").copy()
    for level in range(2, levels + 1):
        total += of(f"{side}_size_{level}")
    return total


def imbalance(of):
    bid, ask = (summed(of, side, IMBALANCE_LEVELS) for side in SIDES)
    return (bid - ask) / (bid + ask)


def depth(of):
    """The sizes of all levels of each side, and the imbalance of the best."""
    return {
        **{f"{side}_depth_{LEVELS}": summed(of, side, LEVELS) for side in SIDES},
        f"imbalance_{IMBALANCE_LEVELS}": imbalance(of),
    }


def book_minutes(times, of):
    """Of each minute the mean imbalance and the last middle; `times` in nanoseconds."""
    frame = pd.DataFrame({"imbalance": imbalance(of), "mid": (of("bid_price_1") + of("ask_price_1")) / 2})
    grouped = frame.groupby(times // MINUTE_NS)
    return pd.DataFrame({"imbalance_5_mean": grouped["imbalance"].mean(), "mid_last": grouped["mid"].last()})


def shown_minutes(found):
    return found.index.to_numpy() * MINUTE_NS, {name: found[name].to_numpy() for name in found}
