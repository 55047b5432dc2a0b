#!/usr/bin/env bash
# Builds a real S3 server, versitygw with its POSIX backend, from its Go module into OUT_DIR.
#   usage: build.sh OUT_DIR        needs go
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"; out=$(cd "$1" && pwd)
if [ -x "$out/versitygw" ]; then echo "$out/versitygw"; exit 0; fi
command -v go >/dev/null || { echo "building versitygw needs \`go\`: install it and run this again" >&2; exit 1; }
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
cp "$here"/go.mod "$here"/go.sum "$here"/tools.go "$work"; cd "$work"
go build -o "$out/versitygw.partial" github.com/versity/versitygw/cmd/versitygw
mv "$out/versitygw.partial" "$out/versitygw"
echo "$out/versitygw"
