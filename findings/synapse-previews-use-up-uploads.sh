#!/usr/bin/env bash
# What Synapse fetches for a preview of a link counts as an upload of the user who asked first: looking at links uses up the limit that
# get_media_upload_limits_for_user gives, which stops uploads and not previews. Those who ask later pay nothing.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib/synapse.bash
source "$here/lib/synapse.bash"
ASKED=$(mktemp) && export ASKED
# shellcheck disable=SC2034 # read by synapse
more='url_preview_enabled: true
url_preview_ip_range_blacklist: []'
# shellcheck disable=SC2034 # read by synapse
packages="lxml==6.0.2 beautifulsoup4==4.15.0"
synapse 1.163.2 <<'PY'
import os

from synapse.module_api import MediaUploadLimit


class Module:
    """Lets each user upload a hundred thousand bytes a day."""

    def __init__(self, config, api):
        api.register_media_repository_callbacks(
            get_media_upload_limits_for_user=self.limits, on_media_upload_limit_exceeded=self.exceeded
        )

    async def limits(self, user):
        return [MediaUploadLimit(max_bytes=100_000, time_period_ms=86_400_000)]

    async def exceeded(self, user, limit, sent_bytes, attempted_bytes):
        with open(os.environ["ASKED"], "a") as f:
            f.write(f"{user} has sent {sent_bytes} bytes\n")
PY
URL=$url PYTHONPATH=$here/lib "$python" - <<'PY'
import http.server
import threading

from client import asked, call, quote, register


class Site(http.server.BaseHTTPRequestHandler):
    """Pages of sixty thousand bytes."""

    def do_GET(self):
        head = b'<html><head><meta property="og:title" content="Hello"></head><body>'
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", "60000")
        self.end_headers()
        self.wfile.write(head.ljust(60_000, b"x"))

    def log_message(self, *args):
        pass


site = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site)
threading.Thread(target=site.serve_forever, daemon=True).start()


def preview(user, page):
    url = quote(f"http://127.0.0.1:{site.server_port}/{page}")
    return call(user, "GET", f"/_matrix/client/v1/media/preview_url?url={url}")[1].get("og:title")


print("Synapse 1.163.2, users who may upload 100,000 bytes a day, and look at previews of pages of 60,000:")
for name, pages, wanted in (("alice", 3, (403, "M_USER_LIMIT_EXCEEDED")), ("bob", 3, (200, "uploaded")), ("carol", 0, (200, "uploaded"))):
    user = register(name)
    seen = [preview(user, page) for page in range(pages)]
    status, body = call(user, "POST", "/_matrix/media/v3/upload", "a few bytes")
    got, told = (status, body.get("errcode", "uploaded")), asked()
    print(f"  {name} looks at {len(seen)} previews, and uploads a few bytes: {got}; modules are told {told}")
    assert seen == ["Hello"] * pages and got == wanted, (seen, body)
    assert told == (["@alice:example.com has sent 180000 bytes"] if name == "alice" else []), told
PY
