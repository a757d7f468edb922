#!/usr/bin/env bash
# gomatrixserverlib writes canonical JSON without the escapes of keys, so it does not verify what other servers signed.
set -euo pipefail
version=v0.0.0-20260202113659-20c9de33969e
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'GO'
package main

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"

	"github.com/matrix-org/gomatrixserverlib"
)

func main() {
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	// As the specification has it canonical: sorted, no spaces, escapes where JSON needs them.
	for _, canonical := range []string{`{"a\"b":1}`, `{"a":"a\"b"}`} {
		written, err := gomatrixserverlib.CanonicalJSON([]byte(canonical))
		if err != nil {
			panic(err)
		}
		signature := base64.RawStdEncoding.EncodeToString(ed25519.Sign(key, []byte(canonical)))
		signed := canonical[:len(canonical)-1] + `,"signatures":{"example.com":{"ed25519:1":"` + signature + `"}}}`
		err = gomatrixserverlib.VerifyJSON("example.com", "ed25519:1", key.Public().(ed25519.PublicKey), []byte(signed))
		fmt.Printf("  %s is written %s (JSON: %v), and what was signed verifies: %v\n", canonical, written, json.Valid(written), err == nil)
		inKey := canonical == `{"a\"b":1}`
		if json.Valid(written) == inKey || (err == nil) == inKey {
			os.Exit(1)
		}
	}
}
GO
export GOFLAGS=-mod=mod
go mod init finding >/dev/null 2>&1
go get "github.com/matrix-org/gomatrixserverlib@$version" >/dev/null 2>&1
echo "gomatrixserverlib $version"
go run .
