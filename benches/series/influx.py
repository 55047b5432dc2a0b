"""InfluxDB 2 over HTTP, as its clients use it: gzipped line protocol in, annotated CSV of Flux out, read by pandas.

Only the bars: the 28 million values of ticks and books over HTTP would take longer than all the rest.
"""

import gzip
import http.client
import io
import json
import os
import socket
import subprocess
import time

ORG, BUCKET, TOKEN = "bench", "market", "token-of-a-benchmark"
START_S_MAX = 60
# The server compacts what was not written to for this long; the folder has settled when it stays as large for longer.
COLD_S = 2
SETTLED_S = 6
SETTLED_S_MAX = 90


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


def measure(plan, out, bytes_of):
    binary = os.environ.get("SHIPHOLD_INFLUXD")
    if not binary:
        raise RuntimeError("SHIPHOLD_INFLUXD is not set: run `cargo xtask peers` once")
    server = Server(binary, os.path.join(plan.work, "influxdb"))
    try:
        fill_and_ask(plan, out, bytes_of, server)
    finally:
        server.end()
    return "durable: its log is synced at each write; bars only"


def fill_and_ask(plan, out, bytes_of, server):
    import pandas as pd

    of, columns = plan.tables["bars"], plan.columns("bars")
    fields = [n for n in columns if n != "time"]
    total, taken = of["rows"] * of["symbols"], 0.0
    name = lambda symbol: f"bar.1m.SYM{symbol:02}"
    for symbol, begin, end in plan.batches("bars"):
        values = [columns[f][begin:end].tolist() for f in fields]
        rows = zip(columns["time"][begin:end].tolist(), *values)
        line = lambda row: f"{name(symbol)} {','.join(f'{f}={v!r}' for f, v in zip(fields, row[1:]))} {row[0]}"
        body = gzip.compress("\n".join(map(line, rows)).encode(), 1)
        clock = time.perf_counter()
        server.ask(f"/api/v2/write?org={ORG}&bucket={BUCKET}&precision=ns", body, 204, **{"Content-Encoding": "gzip"})
        taken += time.perf_counter() - clock
    out.ingest("bars", total, taken)
    settle(server.folder, bytes_of)
    out.bytes("bars", total, server.folder)

    def query(flux):
        body = json.dumps({"query": flux, "dialect": {"annotations": [], "header": True}}).encode()
        said = server.ask(f"/api/v2/query?org={ORG}", body, 200, **{"Content-Type": "application/json"})
        # Results follow one another, each with a header of its own, behind an empty line.
        parts = [p for p in said.replace(b"\r\n", b"\n").split(b"\n\n") if p.strip()]
        return pd.concat([pd.read_csv(io.BytesIO(p)) for p in parts])

    def closes(flux):
        found = query(flux)
        close = found.loc[found["_field"] == "close", "_value"]
        return len(close), close.sum()

    start, end = of["range"]
    all_of = lambda start, end: f'from(bucket: "{BUCKET}") |> range(start: time(v: {start}), stop: time(v: {end}))'
    every = int(columns["time"].min()), int(columns["time"].max()) + 1
    one = f'|> filter(fn: (r) => r._measurement == "{name(of["symbol"])}")'
    lean = '|> keep(columns: ["_measurement", "_field", "_time", "_value"])'
    out.timed("bars.range", 5, lambda: closes(f"{all_of(start, end)} {one} {lean}"))
    out.timed("bars.scan", 1, lambda: closes(f"{all_of(*every)} {lean}"))
    # Each from its source: what is shared between results is not pushed down to the storage.
    daily = "\n".join(
        f'{all_of(*every)} {one} |> filter(fn: (r) => r._field == "{field}")'
        f' |> aggregateWindow(every: 1d, fn: {function}, createEmpty: false, timeSrc: "_start") {lean} |> yield(name: "{field}")'
        for field, function in zip(fields, ["first", "max", "min", "last", "sum"])
    )
    out.timed("bars.resample", 5, lambda: closes(daily))
    out.timed("bars.latest", 15, lambda: closes(f"{all_of(*every)} |> last() {lean}"))


def settle(folder, bytes_of):
    """Until the server has compacted what it was given."""
    until, before, since = time.monotonic() + SETTLED_S_MAX, -1, time.monotonic()
    while time.monotonic() < until:
        now = bytes_of(folder)
        if now != before:
            before, since = now, time.monotonic()
        if time.monotonic() - since > SETTLED_S:
            return
        time.sleep(0.5)
