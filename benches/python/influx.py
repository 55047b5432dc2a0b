"""InfluxDB 2 over HTTP, as its clients use it: gzipped line protocol in, made before the clock starts; CSV of Flux out, read by pandas."""

import gzip
import http.client
import io
import json
import os
import shutil
import socket
import subprocess
import time

import pandas as pd

import common
from common import MINUTE_NS, Clock, folder_bytes

ORG, BUCKET, TOKEN = "bench", "market", "token-of-a-benchmark"
START_S_MAX = 60
# The server compacts what was not written to for this long; the folder has settled when it stays as large for longer, as the plan says.
COLD_S = 2
SETTLED_S_MAX = 90
# What a query may give: fields times rows.
VALUES_MAX = 5_000_000


class Server:
    def __init__(self, binary, folder):
        self.folder = folder
        os.mkdir(folder)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        at = lambda name: os.path.join(folder, name)
        self.child = subprocess.Popen(
            [
                binary, "--http-bind-address", f"127.0.0.1:{self.port}", "--reporting-disabled", "--log-level", "error",
                "--bolt-path", at("bolt"), "--engine-path", at("engine"), "--sqlite-path", at("sqlite"),
                f"--storage-cache-snapshot-write-cold-duration={COLD_S}s",
                f"--storage-compact-full-write-cold-duration={COLD_S}s",
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        try:
            self.wait()
            self.connection = http.client.HTTPConnection("127.0.0.1", self.port)
            who = {"username": "bench", "password": "password-of-a-benchmark", "org": ORG, "bucket": BUCKET, "token": TOKEN}
            self.ask("/api/v2/setup", json.dumps(who).encode(), 201)
        except BaseException:
            self.end()
            raise

    def wait(self):
        until = time.monotonic() + START_S_MAX
        while True:
            try:
                probe = http.client.HTTPConnection("127.0.0.1", self.port)
                probe.request("GET", "/health")
                if probe.getresponse().status == 200:
                    return
            except OSError:
                pass
            if time.monotonic() > until or self.child.poll() is not None:
                raise RuntimeError("influxd does not start")
            time.sleep(0.1)

    def ask(self, path, body, wanted, **headers):
        self.connection.request("POST", path, body, {"Authorization": f"Token {TOKEN}", **headers})
        answer = self.connection.getresponse()
        said = answer.read()
        if answer.status != wanted:
            raise RuntimeError(f"influxd answers {answer.status}: {said[:500]!r}")
        return said

    def end(self):
        self.child.kill()
        self.child.wait()


def measure(plan, out):
    binary = os.environ.get("SHIPHOLD_INFLUXD")
    if not binary:
        raise RuntimeError("SHIPHOLD_INFLUXD is not set: run `cargo xtask peers` once")
    for table in plan.tables:
        server = Server(binary, os.path.join(plan.work, f"influxdb-{table}"))
        try:
            feed(plan, table, out, server)
            ask(plan, table, out, server)
        finally:
            server.end()
        shutil.rmtree(server.folder)
    return (
        f"durable: its log is synced at each write; Flux joins no rows as of a time, and what would give more than {VALUES_MAX:,} values"
        " is not asked, for it takes minutes as CSV"
    )


def name(table, symbol):
    return f"{table}.SYM{symbol:02}"


def feed(plan, table, out, server):
    columns = plan.columns(table)
    times = columns.pop("time")
    form = ",".join(f"{field}={{!r}}" for field in columns)
    clock = Clock()
    for symbol, begin, end in plan.batches(table):
        line = f"{name(table, symbol)} {form} {{}}".format
        lines = map(line, *(c[begin:end].tolist() for c in columns.values()), times[begin:end].tolist())
        body = gzip.compress("\n".join(lines).encode(), 1)
        with clock:
            server.ask(f"/api/v2/write?org={ORG}&bucket={BUCKET}&precision=ns", body, 204, **{"Content-Encoding": "gzip"})
    out.ingest(plan, table, clock.seconds)
    settle(server.folder, plan.settled_s)
    out.bytes(plan, table, server.folder)


def flux_csv(said):
    """Results follow one another, each with a header of its own, behind an empty line."""
    parts = [p for p in said.replace(b"\r\n", b"\n").split(b"\n\n") if p.strip()]
    return pd.concat([pd.read_csv(io.BytesIO(p), dtype={"_value": "float64"}) for p in parts])


def wide(found):
    """Times and a column a field of the long form: the fields of all series have the same times in the same order."""
    columns = {field: rows["_value"].to_numpy() for field, rows in found.groupby("_field", sort=False)}
    first = next(iter(columns))
    return pd.to_datetime(found.loc[found["_field"] == first, "_time"], format="ISO8601"), columns


def ask(plan, table, out, server):
    of = plan.tables[table]
    fields = [c for c in of["columns"] if c != "time"]
    times = plan.columns(table)["time"]
    # The first window begins where the range does: at a whole minute.
    every = int(times.min()) // MINUTE_NS * MINUTE_NS, int(times.max()) + 1
    lean = '|> keep(columns: ["_measurement", "_field", "_time", "_value"])'
    one = f'|> filter(fn: (r) => r._measurement == "{name(table, of["symbol"])}")'

    def of_range(start, end):
        return f'from(bucket: "{BUCKET}") |> range(start: time(v: {start}), stop: time(v: {end}))'

    def of_fields(names):
        return "|> filter(fn: (r) => " + " or ".join(f'r._field == "{n}"' for n in names) + ")"

    def query(flux):
        body = json.dumps({"query": flux, "dialect": {"annotations": [], "header": True}}).encode()
        return wide(flux_csv(server.ask(f"/api/v2/query?org={ORG}", body, 200, **{"Content-Type": "application/json"})))

    def timed(what, values, ask):
        if values <= VALUES_MAX:
            out.timed(f"{table}.{what}", ask, lambda found: (pd.DatetimeIndex(found[0]).as_unit("ns").asi8, found[1]))

    def bars(every_, *of_fields_):
        # Each from its source: what is shared between results is not pushed down to the storage.
        parts = zip(["open", "high", "low", "close", "volume"], of_fields_, ["first", "max", "min", "last", "sum"])
        return "\n".join(
            f"{of_range(*every)} {one} {of_fields([field])} |> aggregateWindow(every: {every_}, fn: {function}, createEmpty: false,"
            f' timeSrc: "_start") |> set(key: "_field", value: "{bar}") {lean} |> yield(name: "{bar}")'
            for bar, field, function in parts
        )

    start, end = of["range"]
    rows = ((times >= start) & (times < end)).sum() // of["symbols"]
    timed("range", rows * len(fields), lambda: query(f"{of_range(start, end)} {one} {lean}"))
    timed("scan", plan.rows(table) * len(fields), lambda: query(f"{of_range(*every)} {lean}"))
    timed("latest", 0, lambda: query(f"{of_range(*every)} |> last() {lean}"))
    if table == "bars":
        timed("resample", 0, lambda: query(bars("1d", *fields)))
    if table == "ticks":
        timed("resample", 0, lambda: query(bars("1m", *["price"] * 4, "size")))
    if table == "books":
        def computed(columns, what):
            found, stored = query(f"{of_range(*every)} {of_fields(columns)} {lean}")
            return found, what(lambda n: stored[n])
        timed("top", plan.rows(table) * len(common.TOP), lambda: computed(common.TOP, common.top))
        timed("depth", plan.rows(table) * len(common.SIZES), lambda: computed(common.SIZES, common.depth))


def settle(folder, settled_s):
    """Until the server has compacted what it was given."""
    until, before, since = time.monotonic() + SETTLED_S_MAX, -1, time.monotonic()
    while time.monotonic() < until:
        now = folder_bytes(folder)
        if now != before:
            before, since = now, time.monotonic()
        if time.monotonic() - since > settled_s:
            return
        time.sleep(0.5)
