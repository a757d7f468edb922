#!/usr/bin/env bash
# A push rule of kind "sender", which is there to mute somebody or to single them out, matches nothing: not at Synapse, and not in
# matrix-js-sdk. Both look for a user_id in the message, and messages have a sender. The same as a rule of kind "override" holds at both.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib/synapse.bash
source "$here/lib/synapse.bash"
# shellcheck source=lib/sdk.bash
source "$here/lib/sdk.bash"
sdk
URL=$url PYTHONPATH=$here/lib "$python" - <<'PY'
from told import HIGHLIGHTS, NOTHING, NOTIFIES, V3, call, check, done, quote, reader

WRITER = "@writer:example.com"


def rule(kind, name, body):
    done(call(reader, "PUT", f"{V3}/pushrules/global/{kind}/{quote(name)}", body))
    got = done(call(reader, "GET", f"{V3}/pushrules/global/{kind}/{quote(name)}"))
    assert got["enabled"] and got["actions"] == body["actions"], got


def gone(kind, name):
    done(call(reader, "DELETE", f"{V3}/pushrules/global/{kind}/{quote(name)}"))


print("Synapse 1.163.2 and matrix-js-sdk 43.0.0, of one message to one reader:")
check("no rule", "hello", NOTIFIES, NOTIFIES)
highlight = ["notify", {"set_tweak": "highlight"}]
for what, actions, wanted in (("mutes the writer", [], NOTHING), ("highlights the writer", highlight, HIGHLIGHTS)):
    rule("sender", WRITER, {"actions": actions})
    check(f"a rule of kind sender that {what}", "hello", NOTIFIES, NOTIFIES)
    gone("sender", WRITER)
    rule("override", "writer", {"actions": actions, "conditions": [{"kind": "event_match", "key": "sender", "pattern": WRITER}]})
    check(f"one of kind override that {what}", "hello", wanted, wanted)
    gone("override", "writer")
PY
