"""Joins random series through the host and with pandas, and compares every cell. Standard library and pandas only."""

import json
import os
import random
import urllib.request

import pandas as pd

URL, TOKEN = os.environ["SHIPHOLD_URL"], os.environ["SHIPHOLD_TOKEN"]


def post(path, body):
    request = urllib.request.Request(URL + path, body.encode(), {"Authorization": f"Bearer {TOKEN}"})
    if body.startswith("{"):
        request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request) as answer:
        return answer.read()


def frame(query):
    table = json.loads(post("/v1/series/query", json.dumps(query)))
    return pd.DataFrame({column["name"]: column["values"] for column in table["columns"]})


random.seed(5)
SECOND = 1_000_000_000
lefts = {s: sorted(random.sample(range(5_000), 400)) for s in ("A", "B")}
rights = {s: sorted(random.sample(range(5_000), 900)) for s in ("A", "B")}
lines = [f"tick,symbol={s} price={t}.5,size=1 {t * SECOND}" for s, times in lefts.items() for t in times]
lines += [f"book,symbol={s} bid_price_1={t}.25 {t * SECOND}" for s, times in rights.items() for t in times]
post("/api/v2/write?org=o&bucket=market", "\n".join(lines))

left = pd.DataFrame([(t * SECOND, s) for s, times in lefts.items() for t in times], columns=["time", "symbol"])
right = pd.DataFrame(
    [(t * SECOND, s, t * SECOND, t + 0.25) for s, times in rights.items() for t in times],
    columns=["time", "symbol", "right_time", "right_bid_price_1"],
)
compared = 0
for direction in ("backward", "forward", "nearest"):
    for exact in (True, False):
        for tolerance in (None, 0, 1, 3):
            asof = {"measurement": "book.*", "by": ["symbol"], "direction": direction, "exact": exact}
            if tolerance is not None:
                asof["tolerance"] = f"{tolerance}s"
            got = frame({"measurement": "tick.*", "fields": ["price"], "asof": asof})
            want = pd.merge_asof(
                left.sort_values("time", kind="stable"),
                right.sort_values("time", kind="stable"),
                on="time",
                by="symbol",
                direction=direction,
                allow_exact_matches=exact,
                tolerance=None if tolerance is None else tolerance * SECOND,
            ).sort_values(["symbol", "time"])
            assert list(got["time"]) == list(want["time"])
            for name in ("right_time", "right_bid_price_1"):
                ours = pd.to_numeric(got[name]).reset_index(drop=True).astype("float64")
                theirs = want[name].reset_index(drop=True).astype("float64")
                pd.testing.assert_series_equal(ours, theirs, check_names=False)
                compared += len(ours)
print(compared, "cells are the same")
