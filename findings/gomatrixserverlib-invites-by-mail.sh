#!/usr/bin/env bash
# gomatrixserverlib redacts an invite by e-mail as before room version 11, so its event ID and signed bytes are not those of Synapse.
set -euo pipefail
version=v0.0.0-20260202113659-20c9de33969e
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'GO'
package main

import (
	"crypto/ed25519"
	"fmt"
	"os"

	"github.com/matrix-org/gomatrixserverlib"
)

// Made and signed by Synapse 1.163.2 for a room of version 11, with a key of the seed "remote.example" and spaces.
const (
	event = `{"auth_events":["$aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"],"content":{"membership":"invite","third_party_invite":{"display_name":"b...","signed":{"mxid":"@bob:elsewhere.example","signatures":{"id.example":{"ed25519:0":"c2ln"}},"token":"t"}}},"depth":7,"hashes":{"sha256":"Z+d5CH+bnNDg6s4nIsMa5OQ8ZZ/aqo47E70fcdXYWTQ"},"origin_server_ts":1700000000000,"prev_events":["$aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"],"room_id":"!room:remote.example","sender":"@alice:remote.example","signatures":{"remote.example":{"ed25519:a_1":"BP3RmZbb2Ljj0BLv0q7D/tySD/9V+hpvO2h+LXNOwSpJffbaS/e4tvjehK1XwNoFHt5NjiDwGOXdAnLpd/L/Cg"}},"state_key":"@bob:elsewhere.example","type":"m.room.member"}`
	id    = "$3E5ckUwYyPYjjkM_YCTO4V1J366tO2E2a2JXgAnYVCw"
)

func main() {
	public := ed25519.NewKeyFromSeed(fmt.Appendf(nil, "%-32s", "remote.example")).Public().(ed25519.PublicKey)
	room := gomatrixserverlib.MustGetRoomVersion("11")
	pdu, err := room.NewEventFromUntrustedJSON([]byte(event))
	if err != nil {
		panic(err)
	}
	redacted, err := room.RedactEventJSON(pdu.JSON())
	if err != nil {
		panic(err)
	}
	err = gomatrixserverlib.VerifyJSON("remote.example", "ed25519:a_1", public, redacted)
	fmt.Printf("  Synapse: %s\n  here:    %s\n  redacted: %s\n  its signature: %v\n", id, pdu.EventID(), redacted, err)
	if pdu.EventID() == id || err == nil {
		os.Exit(1)
	}
}
GO
export GOFLAGS=-mod=mod
go mod init finding >/dev/null 2>&1
go get "github.com/matrix-org/gomatrixserverlib@$version" >/dev/null 2>&1
echo "gomatrixserverlib $version"
go run .
