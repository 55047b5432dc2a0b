"""InfluxDB's own client, unmodified: what a trader's code does with it, against this host."""
import os
import warnings
from datetime import datetime, timedelta, timezone

import pandas as pd
from influxdb_client import BucketRetentionRules, InfluxDBClient, Point, WriteOptions, WritePrecision
from influxdb_client.client.warnings import MissingPivotFunction
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.rest import ApiException

BUCKET = "py"
BEGIN = datetime(2026, 6, 26, 13, 30, tzinfo=timezone.utc)
MINUTES = 5000
RANGE = f"range(start: {BEGIN.isoformat()}, stop: {(BEGIN + timedelta(minutes=MINUTES)).isoformat()})".replace("+00:00", "Z")
PIVOT = 'pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")'
FROM = f'from(bucket: "{BUCKET}") |> {RANGE}'


def refused(status, call):
    try:
        call()
    except ApiException as error:
        assert error.status == status, error
        return error
    raise AssertionError(f"{status} was expected")


def batching(client):
    errors, retries = [], []
    options = WriteOptions(batch_size=500, flush_interval=1_000, jitter_interval=100, retry_interval=500)
    with client.write_api(write_options=options, error_callback=lambda _, data, error: errors.append(error),
                          retry_callback=lambda _, data, error: retries.append(error)) as api:
        for i in range(MINUTES):
            price = round(500 + i / 100, 2)
            point = Point("bar").tag("symbol", "MSFT").tag("timeframe", "1m").time(BEGIN + timedelta(minutes=i), WritePrecision.NS)
            for field in ["open", "high", "low", "close"]:
                point.field(field, price)
            api.write(BUCKET, record=point.field("volume", 100.0))
    assert not errors and not retries, (errors, retries)
    table, = client.query_api().query(f'{FROM} |> filter(fn: (r) => r._measurement == "bar" and r._field == "close") |> count()')
    assert table.records[0].get_value() == MINUTES, table.records


def frames(client):
    index = pd.date_range(BEGIN, periods=1000, freq="1min", name="time")
    frame = pd.DataFrame({"symbol": "SPY", "timeframe": "1m", "close": [400 + i / 8 for i in range(1000)],
                          "volume": [float(i) for i in range(1000)]}, index=index)
    with client.write_api(write_options=SYNCHRONOUS) as api:
        api.write(BUCKET, record=frame, data_frame_measurement_name="bar", data_frame_tag_columns=["symbol", "timeframe"])
        cpu = pd.DataFrame({"host": ["a", "b", "a"], "usage": [1.5, 2.5, 3.5], "n": [1, 2, 3], "on": [True, False, True],
                            "note": ["x", 'y "quoted", and more', "ü"]},
                           index=pd.date_range(BEGIN, periods=3, freq="1s"))
        api.write(BUCKET, record=cpu, data_frame_measurement_name="cpu", data_frame_tag_columns=["host"])

    query = client.query_api()
    got = query.query_data_frame(f'{FROM} |> filter(fn: (r) => r._measurement == "bar" and r.symbol == "SPY") |> {PIVOT}')
    assert list(got["close"]) == list(frame["close"]) and list(got["volume"]) == list(frame["volume"])
    assert list(got["_time"]) == list(index), got["_time"]
    assert set(got["symbol"]) == {"SPY"} and set(got["timeframe"]) == {"1m"} and set(got["_measurement"]) == {"bar"}

    got = query.query_data_frame(f'{FROM} |> filter(fn: (r) => r._measurement == "cpu") |> {PIVOT}', data_frame_index=["_time"])
    got = got.sort_index()
    for column in ["host", "usage", "n", "on", "note"]:
        assert list(got[column]) == list(cpu[column]), (column, list(got[column]))
    assert got["usage"].dtype == float and got["n"].dtype == "int64", got.dtypes

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MissingPivotFunction)
        hours = query.query_data_frame(f'{FROM} |> filter(fn: (r) => r.symbol == "SPY" and r._field == "close") '
                                       "|> aggregateWindow(every: 1h, fn: mean, createEmpty: false)")
    first = frame["close"].iloc[:30].mean()
    assert abs(hours["_value"].iloc[0] - first) < 1e-9, (hours["_value"].iloc[0], first)
    whole = frame["close"].resample("1h").mean()
    assert len(hours) == len(whole) and abs(hours["_value"].to_numpy() - whole.to_numpy()).max() < 1e-9

    parts = list(query.query_data_frame_stream(f'{FROM} |> filter(fn: (r) => r._measurement == "bar") |> {PIVOT}'))
    assert sum(len(part) for part in parts) == MINUTES + 1000, [len(part) for part in parts]


def records(client):
    query = client.query_api()
    flux = f'{FROM} |> filter(fn: (r) => r._measurement == "cpu" and r.host == "a") |> last()'
    tables = query.query(flux)
    last = {table.records[0].get_field(): table.records[0] for table in tables}
    assert {k: r.get_value() for k, r in last.items()} == {"n": 3, "note": "ü", "on": True, "usage": 3.5}
    record = last["usage"]
    assert record.get_measurement() == "cpu" and record["host"] == "a" and record.get_time() == BEGIN + timedelta(seconds=2)
    assert record.get_start() == BEGIN and record.get_stop() == BEGIN + timedelta(minutes=MINUTES)
    assert tables.to_values(columns=["host", "_value"])[0] == ["a", 3]
    assert sum(1 for _ in query.query_stream(f'{FROM} |> filter(fn: (r) => r._field == "close")')) == MINUTES + 1000

    lines = list(query.query_csv(flux))
    names = next(line for line in lines if "result" in line)
    assert lines[0][:3] == ["#datatype", "string", "long"] and names[1:6] == ["result", "table", "_start", "_stop", "_time"], lines[:4]
    assert len([line for line in query.query_raw(flux)]) > 0

    given = {"_bucket": BUCKET, "_start": BEGIN, "_hosts": ["a", 'b" or true'], "_from": 2.0, "_every": timedelta(seconds=2)}
    got = query.query('from(bucket: _bucket) |> range(start: _start, stop: 2026-07-01) |> filter(fn: (r) => r._field == "usage") '
                      "|> filter(fn: (r) => contains(value: r.host, set: _hosts) and r._value > _from) "
                      "|> aggregateWindow(every: _every, fn: sum, createEmpty: false)", params=given)
    assert [r.get_value() for t in got for r in t.records] == [3.5], got


def buckets(client):
    assert client.ping()
    assert client.health().status == "pass"
    ready = client.ready()
    assert ready.status == "ready" and ready.started <= datetime.now(timezone.utc), ready
    assert client.version().startswith("v2."), client.version()
    api = client.buckets_api()
    assert [b.name for b in api.find_buckets().buckets] == ["market", BUCKET]
    made = api.create_bucket(bucket_name="later", org="trader")
    assert made.name == "later" and api.find_bucket_by_name("later").id == made.id
    assert api.find_bucket_by_id(made.id).name == "later" and api.find_bucket_by_name("none") is None
    assert [b.name for b in api.find_buckets_iter(limit=1)] == ["later", "market", BUCKET]
    refused(422, lambda: api.create_bucket(bucket_name="later", org="trader"))
    rule = BucketRetentionRules(type="expire", every_seconds=3600)
    assert "retention" in refused(400, lambda: api.create_bucket(bucket_name="x", org="trader", retention_rules=rule)).body
    assert client.query_api().query('from(bucket: "later") |> range(start: -1h)') == []


def errors(client):
    query = client.query_api()
    said = refused(400, lambda: query.query(f'{FROM} |> filter(fn: (r) => r._field == "close") |> movingAverage(n: 5)'))
    said = str(said.body)
    assert "movingAverage" in said and "aggregateWindow" in said, said
    refused(404, lambda: query.query('from(bucket: "none") |> range(start: -1h)'))
    with client.write_api(write_options=SYNCHRONOUS) as api:
        refused(400, lambda: api.write(BUCKET, record="m v= 1"))
    refused(403, lambda: client.delete_api().delete(BEGIN, BEGIN + timedelta(days=9), '_measurement="cpu"', bucket=BUCKET, org="trader"))


def deletions(client):
    with client.write_api(write_options=SYNCHRONOUS) as api:
        api.write(BUCKET, record=[f"gone,host={host} v=1 {i}" for host in "ab" for i in range(1, 11)])
    client.delete_api().delete(datetime(1970, 1, 1, tzinfo=timezone.utc), BEGIN, '_measurement="gone" AND host="a"', bucket=BUCKET, org="trader")
    tables = client.query_api().query(f'from(bucket: "{BUCKET}") |> range(start: 0) |> filter(fn: (r) => r._measurement == "gone")')
    assert [(t.records[0]["host"], len(t.records)) for t in tables] == [("b", 10)], tables


url = os.environ["SHIPHOLD_URL"]
with InfluxDBClient(url=url, token=os.environ["SHIPHOLD_TOKEN"], org="trader", enable_gzip=True) as client:
    for story in [batching, frames, records, buckets, errors]:
        story(client)
        print(story.__name__, "ok")
with InfluxDBClient(url=url, token=os.environ["SHIPHOLD_ADMIN"], org="trader") as client:
    deletions(client)
    print("deletions ok")
