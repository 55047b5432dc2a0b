"""Asks a host, and an InfluxDB beside it, for rows of one series over HTTP until they are a data frame. `frames.py PLAN`: JSON with the
servers and what to ask; prints JSON: of each form its milliseconds and the digest of its answer."""

import http.client
import io
import json
import sys

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from common import Figures
from influx import flux_csv, wide

FIELDS = ["open", "high", "low", "close", "volume"]
ARROW = "application/vnd.apache.arrow.stream"


class Server:
    def __init__(self, port, token, org, bucket):
        self.token, self.org, self.bucket = token, org, bucket
        self.connection = http.client.HTTPConnection("127.0.0.1", port)

    def post(self, path, body, accept="application/json"):
        """Type and bytes of the answer, which must be 200."""
        headers = {"Authorization": f"Token {self.token}", "Content-Type": "application/json", "Accept": accept}
        self.connection.request("POST", path, json.dumps(body).encode(), headers)
        answer = self.connection.getresponse()
        said = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path} answers {answer.status}: {said[:500]!r}")
        return answer.headers.get_content_type(), said

    def flux(self, text):
        """A frame with a column a field, of the long form in which Flux answers."""
        body = {"query": text, "dialect": {"annotations": [], "header": True}}
        times, columns = wide(flux_csv(self.post(f"/api/v2/query?org={self.org}", body, "text/csv")[1]))
        return pd.DataFrame(columns, index=pd.DatetimeIndex(times).as_unit("ns"))


def shown(frame):
    """Times of the index or of the column `time`, as datetimes or nanoseconds. Of texts pandas takes a column of whole numbers for integers,
    which in a digest are something else than the floats that were written."""
    times = frame["time"] if "time" in frame else frame.index
    times = times if times.dtype.kind == "i" else pd.DatetimeIndex(times).as_unit("ns").asi8
    return times, {name: frame[name].to_numpy("float64") for name in FIELDS}


def main():
    plan = json.loads(sys.argv[1])
    host, out = Server(**plan["shiphold"]), Figures(plan["timed_s"])
    query = {"measurement": plan["measurement"], "bucket": host.bucket, "start": plan["start"], "end": plan["end"]}

    def of_json():
        told = json.loads(host.post("/v1/series/query", query)[1])
        return pd.DataFrame({c["name"]: c["values"] for c in told["columns"]})

    def of_csv():
        frame = pd.read_csv(io.BytesIO(host.post("/v1/series/query", query, "text/csv")[1]))
        if frame["time"].dtype.kind != "i":
            frame["time"] = pd.to_datetime(frame["time"], format="ISO8601")
        return frame

    def of_ndjson():
        said = host.post("/v1/series/query", query, "application/x-ndjson")[1]
        return pd.read_json(io.BytesIO(said), lines=True, convert_dates=False)

    def of_parquet():
        return pq.read_table(io.BytesIO(host.post("/v1/series/export?format=parquet", query, "*/*")[1])).to_pandas()

    def of_arrow():
        return pa.ipc.open_stream(host.post("/v1/series/query", query, ARROW)[1]).read_pandas()

    def of_flux(server, measured, then=""):
        return lambda: server.flux(
            f'from(bucket: "{server.bucket}") |> range(start: time(v: {plan["start"]}), stop: time(v: {plan["end"]}))'
            f" |> filter(fn: (r) => {measured}){then}"
        )

    # Fewer columns in the CSV, for InfluxDB alone: the host's subset of Flux has no `keep`.
    lean = ' |> keep(columns: ["_measurement", "_field", "_time", "_value"])'

    forms = {"json": of_json, "csv": of_csv, "ndjson": of_ndjson, "parquet": of_parquet}
    if offers_arrow(host, query):
        forms["arrow"] = of_arrow
    for name, ask in forms.items():
        out.timed(name, ask, shown)
    by_symbol = f'r._measurement == "bar" and r.symbol == "{plan["symbol"]}"'
    out.timed("flux", of_flux(host, by_symbol), shown)
    if plan["influxdb"]:
        out.timed("influxdb", of_flux(Server(**plan["influxdb"]), by_symbol, lean), shown)
    print(json.dumps(out.all))


def offers_arrow(host, query):
    """A host without this form answers in another one, or says that it has none."""
    try:
        return host.post("/v1/series/query", query, ARROW)[0] == ARROW
    except RuntimeError:
        return False


main()
