//go:build !linux

package integration_test

import "os"

// commandOutput is our own standard output, of which go test shows what a passing test prints only with -v.
func commandOutput() *os.File { return os.Stdout }
