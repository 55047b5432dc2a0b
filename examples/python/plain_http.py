"""Write three bars and read them back: plain HTTP, nothing to install."""
import json, os, urllib.request

url, token = os.environ["SHIPHOLD_URL"], os.environ["SHIPHOLD_TOKEN"]

def call(path, body, kind="text/plain"):
    headers = {"Authorization": f"Bearer {token}", "Content-Type": kind}
    return urllib.request.urlopen(urllib.request.Request(url + path, body.encode(), headers)).read()

bars = [(1719408600 + 60 * i, 189.5 + i / 10) for i in range(3)]
lines = "\n".join(f"bar,symbol=AAPL,timeframe=1m open={p},high={p},low={p},close={p + 0.2:.2f},volume=100 {t}" for t, p in bars)
call("/api/v2/write?bucket=market&precision=s", lines)
print(json.loads(call("/v1/series/query", json.dumps({"measurement": "bar.1m.AAPL", "fields": ["close"]}), "application/json")))
