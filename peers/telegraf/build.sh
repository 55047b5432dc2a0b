#!/usr/bin/env bash
# Builds a real Telegraf from its Go module into OUT_DIR, with the few plugins that the tests use (half a minute the first time).
#   usage: build.sh OUT_DIR        needs go
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"; out=$(cd "$1" && pwd)
if [ -x "$out/telegraf" ]; then echo "$out/telegraf"; exit 0; fi
command -v go >/dev/null || { echo "building telegraf needs \`go\`: install it and run this again" >&2; exit 1; }
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
cp "$here"/go.mod "$here"/go.sum "$here"/tools.go "$work"; cd "$work"
# With all of its plugins it would be hundreds of modules and minutes; go.sum has what these need.
go build -trimpath -tags custom,inputs.cpu,inputs.internal,inputs.mem,outputs.influxdb_v2 \
  -ldflags "-s -w -X github.com/influxdata/telegraf/internal.Version=1.37.2" \
  -o "$out/telegraf.partial" github.com/influxdata/telegraf/cmd/telegraf
mv "$out/telegraf.partial" "$out/telegraf"
echo "$out/telegraf"
