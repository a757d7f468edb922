#!/usr/bin/env bash
# check_media_file_for_spam is asked about an uploaded image and about each thumbnail that Synapse makes of it. Refused thumbnails are
# missing, with all that would have come after them; the image stays, and its uploader sees a success.
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
    """Refuses the third thumbnail of each second image."""

    def __init__(self, config, api):
        self.images = 0
        api.register_spam_checker_callbacks(check_media_file_for_spam=self.media)

    async def media(self, wrapper, info):
        self.images += info.thumbnail is None
        with open(os.environ["ASKED"], "a") as f:
            f.write(f"{info.thumbnail.width if info.thumbnail else 'image'}\n")
        return Codes.FORBIDDEN if self.images == 2 and info.thumbnail and info.thumbnail.width > 100 else NOT_SPAM
PY
URL=$url PYTHONPATH=$here/lib "$python" - <<'PY'
import io
import json
import os
import urllib.error
import urllib.request

from PIL import Image
from client import asked, register

alice = register("alice")


def call(method, path, body=None):
    headers = {"Authorization": f"Bearer {alice}", "Content-Type": "image/png"}
    try:
        with urllib.request.urlopen(urllib.request.Request(os.environ["URL"] + path, body, headers, method=method)) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


picture = io.BytesIO()
Image.new("RGB", (1000, 800), "teal").save(picture, "PNG")
print("Synapse 1.163.2, an image of 1000 × 800 that is uploaded twice, and the third thumbnail of the second one is refused:")
for questions, thumbnail in ((["image", "32", "96", "300", "600", "750"], 200), (["image", "32", "96", "300"], 404)):
    status, body = call("POST", "/_matrix/media/v3/upload", picture.getvalue())
    got, media = asked(), json.loads(body)["content_uri"].removeprefix("mxc://")
    print(f"  the upload: {status}; questions: {', '.join(got)}")
    assert (status, got) == (200, questions)
    assert call("GET", f"/_matrix/client/v1/media/download/{media}")[0] == 200
    small, large = (call("GET", f"/_matrix/client/v1/media/thumbnail/{media}?width={w}&height={h}&method={m}")[0]
                    for w, h, m in ((32, 32, "crop"), (640, 480, "scale")))
    print(f"  the image itself: 200; thumbnails: {small} and {large}")
    assert (small, large) == (200, thumbnail)
PY
