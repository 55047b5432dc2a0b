"""Write a thousand bars with InfluxDB's own client (pip install influxdb-client), unmodified, in batching mode."""
import os
from datetime import datetime, timedelta, timezone

from influxdb_client import InfluxDBClient, Point, WritePrecision

begin = datetime(2026, 6, 26, 13, 30, tzinfo=timezone.utc)
errors = []

with InfluxDBClient(url=os.environ["SHIPHOLD_URL"], token=os.environ["SHIPHOLD_TOKEN"], org="trader") as client:
    assert client.ping(), "the host does not answer"
    # Batching mode reports a failed write through this callback only.
    with client.write_api(error_callback=lambda *details: errors.append(details[-1])) as api:
        for i in range(1000):
            price = round(500 + i / 100, 2)
            api.write("market", record=Point("bar").tag("symbol", "MSFT").tag("timeframe", "1m")
                      .field("open", price).field("high", price).field("low", price).field("close", price).field("volume", 100.0)
                      .time(begin + timedelta(minutes=i), WritePrecision.NS))
assert not errors, errors
print("1000 bars written")
