#!/usr/bin/env bash
# nats-py compares a message with the server's max_payload without its headers, which the server counts. One that is too large by its
# headers is taken and flushed without an error, and closes the client for good: it does not reconnect. nats.go and nats.js refuse it.
# Needs Go, Node 20 and Python 3.10 or later.
set -euo pipefail
server=v2.15.3 go=v1.55.0 js=3.4.0 python=2.16.0
dir=$(mktemp -d)
trap 'kill "${pid:-}" 2>/dev/null || :; rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'GO'
package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// With an address, a client that publishes a message whose headers take it over the limit; without, a server.
func main() {
	if len(os.Args) == 1 {
		s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, NoLog: true, NoSigs: true})
		if err != nil {
			panic(err)
		}
		go s.Start()
		if !s.ReadyForConnections(10 * time.Second) {
			panic("the server does not start")
		}
		fmt.Println(s.ClientURL())
		s.WaitForShutdown()
	}
	nc, err := nats.Connect(os.Args[1])
	if err != nil {
		panic(err)
	}
	m := nats.NewMsg("test")
	m.Data = make([]byte, nc.MaxPayload()-50)
	m.Header.Set("Name", strings.Repeat("x", 100))
	err = nc.PublishMsg(m)
	fmt.Printf("refused: %v, connected: %v\n", err == nats.ErrMaxPayload, nc.Flush() == nil && nc.IsConnected())
}
GO
cat >go.mod <<'MOD'
module finding

go 1.25
MOD
go get "github.com/nats-io/nats-server/v2@$server" "github.com/nats-io/nats.go@$go" 2>/dev/null
go build -o finding .
echo "{\"type\": \"module\", \"dependencies\": {\"@nats-io/transport-node\": \"$js\"}}" >package.json
npm install --silent --no-audit --no-fund --ignore-scripts
cat >client.js <<'JS'
import { connect, headers } from "@nats-io/transport-node";

const nc = await connect({ servers: process.argv[2] });
const h = headers();
h.set("Name", "x".repeat(100));
let refused = false;
try {
    nc.publish("test", new Uint8Array(nc.info.max_payload - 50), { headers: h });
} catch (error) {
    refused = error.message.includes("max_payload");
}
await nc.flush();
console.log(`refused: ${refused}, connected: ${!nc.isClosed()}`);
await nc.close();
JS
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check "nats-py==$python"
cat >client.py <<'PY'
import asyncio
import sys

import nats


async def main():
    closed = asyncio.Event()

    async def on_closed():
        closed.set()

    nc = await nats.connect(sys.argv[1], closed_cb=on_closed, reconnect_time_wait=0.1)
    refused = False
    try:
        await nc.publish("test", bytes(nc.max_payload - 50), headers={"Name": "x" * 100})
        await nc.flush()
    except nats.errors.MaxPayloadError:
        refused = True
    try:
        await asyncio.wait_for(closed.wait(), 10)
    except asyncio.TimeoutError:
        pass
    print(f"refused: {refused}, connected: {not nc.is_closed}")


asyncio.run(main())
PY
mkfifo said
./finding >said &
pid=$!
read -r url <said
seen() {
	echo "  $1: $2"
	[[ $2 == "$3" ]]
}
echo "nats-server $server, a message of 1 MiB with its headers and 50 bytes more, by"
seen "nats.go $go" "$(./finding "$url")" 'refused: true, connected: true'
seen "nats.js $js" "$(node client.js "$url")" 'refused: true, connected: true'
seen "nats-py $python" "$(venv/bin/python client.py "$url" 2>errors)" 'refused: False, connected: False'
