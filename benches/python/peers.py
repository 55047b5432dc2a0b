"""Measures one store on the very rows that the Rust program wrote.

`peers.py PLAN PEER`: a JSON file that says where the columns are and what to ask, and one of `PEERS`. Prints one JSON object: the store's
version, what its durability is, and figures, each query with the digest of its answer, which the Rust program compares with its own. A
store that cannot be loaded or fails says why.

Each does what its own documentation recommends. Queries end with columns in memory: NumPy arrays, Arrow tables or data frames, whichever
is the store's own.
"""

import importlib
import json
import sys
from importlib.metadata import version

from common import Figures, Plan

# The module, and the package whose version is told.
PEERS = {
    "duckdb": ("of_duckdb", "duckdb"),
    "arcticdb": ("of_arcticdb", "arcticdb"),
    "parquet": ("of_parquet", "pyarrow"),
    "influxdb": ("influx", None),
}


def main():
    _, plan, peer = sys.argv
    module, package = PEERS[peer]
    plan = Plan(plan)
    figures = Figures(plan.timed_s)
    try:
        durability = importlib.import_module(module).measure(plan, figures)
        said = {"version": version(package) if package else "", "durability": durability, "figures": figures.all, "failed": None}
    except Exception as e:  # whatever it is, it is told
        said = {"version": "", "durability": "", "figures": {}, "failed": f"{type(e).__name__}: {e}"}
    print(json.dumps(said))


main()
