//go:build tools

// Package tools pins what build.sh installs.
package tools

import _ "github.com/influxdata/telegraf/cmd/telegraf"
