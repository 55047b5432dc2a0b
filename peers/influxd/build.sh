#!/usr/bin/env bash
# Builds a real InfluxDB 2.7.12 server from its Go module into OUT_DIR (five minutes cold, seconds warm).
#   usage: build.sh OUT_DIR        needs go, cargo, gcc
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"; out=$(cd "$1" && pwd)
if [ -x "$out/influxd" ]; then echo "$out/influxd"; exit 0; fi
for tool in go cargo gcc; do
  command -v "$tool" >/dev/null || { echo "building influxd needs \`$tool\`: install it and run this again" >&2; exit 1; }
done
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
cp "$here"/go.mod "$here"/go.sum "$here"/tools.go "$work"; cd "$work"
# Its query engine, flux, is part Rust: it pins an old toolchain and denies warnings that newer ones add.
# Use the toolchain that is here and cap the lints of its workspace.
if command -v rustup >/dev/null; then
  RUSTUP_TOOLCHAIN=${RUSTUP_TOOLCHAIN:-$(rustup show active-toolchain | awk '{print $1}')}; export RUSTUP_TOOLCHAIN
fi
printf '#!/bin/sh\nexec "$@" --cap-lints allow\n' > rustc-wrap; chmod +x rustc-wrap
export RUSTC_WORKSPACE_WRAPPER=$work/rustc-wrap GOFLAGS=-mod=mod
# A caller's cargo settings must not reach flux's own cargo.
unset CARGO_TARGET_DIR CARGO_ENCODED_RUSTFLAGS RUSTFLAGS CARGO_MANIFEST_DIR || true
GOBIN=$work/bin go install github.com/influxdata/pkg-config
PATH=$work/bin:$PATH PKG_CONFIG=$work/bin/pkg-config \
  go build -tags noassets,sqlite_json -o "$out/influxd.partial" github.com/influxdata/influxdb/v2/cmd/influxd
mv "$out/influxd.partial" "$out/influxd"
echo "$out/influxd"
