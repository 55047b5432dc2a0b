"""DuckDB: each batch a data frame that is inserted; afterwards all rows are put in order by symbol and time into a file of their own,
as its documentation recommends for zone maps. That file is asked, and its bytes count."""

import os

import numpy as np
import pandas as pd

from common import DAY_NS, IMBALANCE_LEVELS, LEVELS, MINUTE_NS, SIDES, Clock

import duckdb


def measure(plan, out):
    for table in plan.tables:
        feed(plan, table, out)
    con = duckdb.connect()
    for table in plan.tables:
        con.execute(f"ATTACH '{kept(plan, table)}' AS {table} (READ_ONLY)")
    ask(plan, con, out)
    return "durable: its log is synced at each commit"


def kept(plan, table):
    return os.path.join(plan.work, f"duckdb-{table}", "rows.duckdb")


def feed(plan, table, out):
    columns = plan.columns(table)
    folder = os.path.dirname(kept(plan, table))
    os.mkdir(folder)
    con = duckdb.connect(os.path.join(plan.work, f"fed-{table}.duckdb"))
    fields = ", ".join(f"{n} {'BIGINT' if n == 'time' else 'DOUBLE'}" for n in columns)
    con.execute(f"CREATE TABLE fed (symbol SMALLINT, {fields})")
    clock = Clock()
    for symbol, begin, end in plan.batches(table):
        batch = pd.DataFrame({n: c[begin:end] for n, c in columns.items()})
        with clock:
            con.execute(f"INSERT INTO fed SELECT {symbol}, {', '.join(columns)} FROM batch")
    out.ingest(plan, table, clock.seconds)
    # In order, each symbol's rows are in few row groups, which their zone maps tell apart.
    con.execute(f"ATTACH '{kept(plan, table)}' AS kept")
    con.execute("CREATE TABLE kept.rows AS SELECT * FROM fed ORDER BY symbol, time")
    con.execute("CHECKPOINT kept")
    con.close()
    out.bytes(plan, table, folder)


def sizes(side, levels):
    return "(" + " + ".join(f"{side}_size_{level}" for level in range(1, levels + 1)) + ")"


def ask(plan, con, out):
    def timed(name, sql, *args, unit=1):
        """`unit` nanoseconds are one of the answer's `time`."""
        def shown(found):
            times = np.ma.getdata(found.pop("time")).astype("int64") * unit
            found.pop("symbol", None)
            return times, found
        out.timed(name, lambda: con.execute(sql, args).fetchnumpy(), shown)

    for table, of in plan.tables.items():
        listed = ", ".join(of["columns"])
        start, end = of["range"]
        timed(
            f"{table}.range",
            f"SELECT {listed} FROM {table}.rows WHERE symbol = ? AND time >= ? AND time < ? ORDER BY time",
            of["symbol"], start, end,
        )
        timed(f"{table}.scan", f"SELECT symbol, {listed} FROM {table}.rows")
        if of["symbols"] == 1:
            timed(f"{table}.latest", f"SELECT {listed} FROM {table}.rows ORDER BY time DESC LIMIT 1")
        else:
            last = ", ".join(f"arg_max({n}, time) AS {n}" for n in of["columns"] if n != "time")
            timed(f"{table}.latest", f"SELECT symbol, max(rows.time) AS time, {last} FROM {table}.rows GROUP BY symbol")
    bars = "arg_min({}, time) AS open, max({}) AS high, min({}) AS low, arg_max({}, time) AS close, sum({}) AS volume"
    of_bars, of_ticks = bars.format("open", "high", "low", "close", "volume"), bars.format(*["price"] * 4, "size")
    timed(
        "bars.resample",
        f"SELECT t AS time, * EXCLUDE t FROM (SELECT time // {DAY_NS} AS t, {of_bars} FROM bars.rows WHERE symbol = ? GROUP BY t) ORDER BY t",
        plan.tables["bars"]["symbol"], unit=DAY_NS,
    )
    timed(
        "ticks.resample",
        f"SELECT t AS time, * EXCLUDE t FROM (SELECT time // {MINUTE_NS} AS t, {of_ticks} FROM ticks.rows GROUP BY t) ORDER BY t",
        unit=MINUTE_NS,
    )
    bid, ask_ = (sizes(side, IMBALANCE_LEVELS) for side in SIDES)
    imbalance = f"({bid} - {ask_}) / ({bid} + {ask_})"
    timed(
        "books.resample",
        f"SELECT t AS time, * EXCLUDE t FROM (SELECT time // {MINUTE_NS} AS t, avg({imbalance}) AS imbalance_5_mean,"
        f" arg_max((bid_price_1 + ask_price_1) / 2, time) AS mid_last FROM books.rows GROUP BY t) ORDER BY t",
        unit=MINUTE_NS,
    )
    timed(
        "books.top",
        "SELECT time, bid_price_1 AS best_bid, bid_size_1 AS best_bid_size, ask_price_1 AS best_ask, ask_size_1 AS best_ask_size,"
        " ask_price_1 - bid_price_1 AS spread, (bid_price_1 + ask_price_1) / 2 AS mid FROM books.rows ORDER BY time",
    )
    depths = ", ".join(f"{sizes(side, LEVELS)} AS {side}_depth_{LEVELS}" for side in SIDES)
    timed("books.depth", f"SELECT time, {depths}, {imbalance} AS imbalance_{IMBALANCE_LEVELS} FROM books.rows ORDER BY time")
    for name, of in plan.asof.items():
        right, fields = of["right"], of["fields"]
        joined = ", ".join(f"r.{f} AS {of['prefix']}{f}" for f in ["time", *fields])
        timed(
            f"ticks.{name}",
            f"SELECT l.time AS time, l.price AS price, {joined} FROM (SELECT * FROM ticks.rows WHERE time >= ? AND time < ?) l"
            f" ASOF LEFT JOIN (SELECT * FROM {right}.rows WHERE symbol = ?) r ON l.time >= r.time ORDER BY l.time",
            *of["range"], of["symbol"],
        )
