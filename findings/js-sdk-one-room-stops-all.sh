#!/usr/bin/env bash
# matrix-js-sdk sends the messages of all rooms one after the other. When one is refused, those that wait for other rooms fail with its
# error and are never sent; when one meets a 500, they wait until its retries are over, and fail as well if those do. Needs Node 20 or later.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
echo '{"type": "module", "dependencies": {"matrix-js-sdk": "43.0.0"}}' >package.json
npm install --silent --no-audit --no-fund --ignore-scripts
cat >finding.js <<'JS'
import assert from "node:assert";
import { createServer } from "node:http";

// Node has had this since version 22.
Promise.withResolvers ??= () => {
    let resolve, reject;
    const promise = new Promise((yes, no) => ([resolve, reject] = [yes, no]));
    return { promise, resolve, reject };
};
const { createClient } = await import("matrix-js-sdk");
const { logger } = await import("matrix-js-sdk/lib/logger.js");
logger.disableAll();

const sent = { event_id: "$event" };
const forbidden = { errcode: "M_FORBIDDEN", error: "not in this room" };
const broken = { errcode: "M_UNKNOWN", error: "Internal server error" };
let answers, seen;
const server = createServer((request, response) => {
    const room = /rooms\/!(\w+)/.exec(decodeURIComponent(request.url))[1];
    const [status, body] = answers[room].shift();
    seen.push(`${room} ${status}`);
    response.writeHead(status, { "Content-Type": "application/json" }).end(JSON.stringify(body));
});
await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
const client = createClient({ baseUrl: `http://127.0.0.1:${server.address().port}`, userId: "@alice:x", accessToken: "token" });

async function sendAll(what, given) {
    [answers, seen] = [given, []];
    const send = (room) => client.sendTextMessage(`!${room}:x`, "hello").then(() => "sent", (error) => error.errcode);
    const results = await Promise.all(Object.keys(given).map(send));
    console.log(`  ${what}: requests ${seen.join(", ")}; messages ${results.join(", ")}`);
    return { seen, results };
}

console.log("matrix-js-sdk 43.0.0, one message to each of three rooms, at the same moment:");
assert.deepEqual(
    await sendAll("the first is refused", { first: [[403, forbidden]], second: [[200, sent]], third: [[200, sent]] }),
    { seen: ["first 403"], results: ["M_FORBIDDEN", "M_FORBIDDEN", "M_FORBIDDEN"] },
);
assert.deepEqual(
    await sendAll("the first fails once", { first: [[500, broken], [200, sent]], second: [[200, sent]], third: [[200, sent]] }),
    { seen: ["first 500", "first 200", "second 200", "third 200"], results: ["sent", "sent", "sent"] },
);
const began = Date.now();
assert.deepEqual(
    await sendAll("the first fails always", { first: Array(5).fill([500, broken]), second: [[200, sent]], third: [[200, sent]] }),
    { seen: Array(5).fill("first 500"), results: ["M_UNKNOWN", "M_UNKNOWN", "M_UNKNOWN"] },
);
const seconds = Math.round((Date.now() - began) / 1000);
console.log(`  the last took ${seconds} s`);
assert.ok(seconds >= 25);
process.exit(0);
JS
node finding.js
