#!/usr/bin/env bash
# Builds a real restic from its Go module into OUT_DIR.
#   usage: build.sh OUT_DIR        needs go
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"; out=$(cd "$1" && pwd)
if [ -x "$out/restic" ]; then echo "$out/restic"; exit 0; fi
command -v go >/dev/null || { echo "building restic needs \`go\`: install it and run this again" >&2; exit 1; }
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
cp "$here"/go.mod "$here"/go.sum "$here"/tools.go "$work"; cd "$work"
go build -o "$out/restic.partial" github.com/restic/restic/cmd/restic
mv "$out/restic.partial" "$out/restic"
echo "$out/restic"
