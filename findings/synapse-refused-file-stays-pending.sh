#!/usr/bin/env bash
# A file that check_media_file_for_spam refuses in an asynchronous upload leaves a media ID that is as if nothing had been sent yet:
# whoever downloads waits, and five of them stop their owner's uploads of that kind for a day.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib/synapse.bash
source "$here/lib/synapse.bash"
ASKED=$(mktemp) && export ASKED
synapse 1.163.2 <<'PY'
import os

from synapse.module_api import NOT_SPAM
from synapse.module_api.errors import Codes


class Module:
    def __init__(self, config, api):
        api.register_spam_checker_callbacks(check_media_file_for_spam=self.media)

    async def media(self, wrapper, info):
        content = []
        await wrapper.write_chunks_to(content.append)
        with open(os.environ["ASKED"], "a") as f:
            f.write(f"{info.file_id}\n")
        return Codes.FORBIDDEN if b"refused" in b"".join(content) else NOT_SPAM
PY
URL=$url PYTHONPATH=$here/lib "$python" - <<'PY'
import time

from client import asked, call, register

alice, bob = register("alice"), register("bob")


def create():
    status, body = call(alice, "POST", "/_matrix/media/v1/create")
    return status, body.get("content_uri", "").removeprefix("mxc://"), body


def upload(media, text):
    status, body = call(alice, "PUT", f"/_matrix/media/v3/upload/{media}", text)
    return status, body.get("error", "kept")


print("Synapse 1.163.2, five files that a module refuses, with media IDs of their own:")
for _ in range(5):
    media = create()[1]
    got = upload(media, "refused")
    assert got == (400, "Bad content") and len(asked()) == 1, got
print(" ", *got)

began = time.monotonic()
status, body = call(bob, "GET", f"/_matrix/client/v1/media/download/{media}")
waited = round(time.monotonic() - began)
print(f"  a download of it: {status} {body['errcode']} after {waited} s")
assert (status, body["errcode"]) == (504, "M_NOT_YET_UPLOADED") and waited >= 15

status, _, body = create()
print("  a sixth media ID:", status, body["errcode"], "retry_after_ms", body["retry_after_ms"])
assert (status, body["errcode"]) == (429, "M_LIMIT_EXCEEDED") and body["retry_after_ms"] > 86_000_000

got = upload(media, "good")
print("  another file with the media ID of a refused one:", *got)
assert got == (200, "kept") and len(asked()) == 1
assert create()[0] == 200
PY
