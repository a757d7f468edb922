#!/usr/bin/env bash
# another-json, which matrix-js-sdk signs with, sorts keys by UTF-16 code units, and not by code points as Matrix's canonical JSON does: a
# signature by one of an object with an emoji among its keys may not verify with the other.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund another-json@0.2.0
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check canonicaljson==2.0.0 signedjson==1.1.4
cat >sign.js <<'JS'
const { stringify } = require("another-json");
const { createPrivateKey, sign } = require("node:crypto");

// An Ed25519 key whose seed is 32 zeros, in PKCS #8.
const key = createPrivateKey({ key: Buffer.from("302e020100300506032b657004220420" + "00".repeat(32), "hex"), format: "der", type: "pkcs8" });
for (const keys of [["a", "b"], ["\u{1F600}", "a"], ["\u{1F600}", "\uFF21"]]) {
    const object = Object.fromEntries(keys.map((key) => [key, 1]));
    const text = stringify(object);
    console.log(JSON.stringify({ object, text, signature: sign(null, Buffer.from(text), key).toString("base64").replace(/=+$/, "") }));
}
JS
node sign.js >signed
venv/bin/python - <<'PY'
import json

from canonicaljson import encode_canonical_json
from signedjson.key import decode_signing_key_base64, get_verify_key
from signedjson.sign import SignatureVerifyException, verify_signed_json

key = get_verify_key(decode_signing_key_base64("ed25519", "1", "A" * 43))
print("another-json 0.2.0 against canonicaljson 2.0.0 and signedjson 1.1.4:")
seen = []
for line in open("signed", encoding="utf-8"):
    case = json.loads(line)
    same = encode_canonical_json(case["object"]).decode() == case["text"]
    try:
        verify_signed_json({**case["object"], "signatures": {"them": {"ed25519:1": case["signature"]}}}, "them", key)
        verified = True
    except SignatureVerifyException:
        verified = False
    seen.append((same, verified))
    print(f"  keys {' '.join(f'U+{ord(k):04X}' for k in case['object'])}: same bytes {same}, its signature verifies {verified}")
assert seen == [(True, True), (True, True), (False, False)], seen
PY
