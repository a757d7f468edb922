#!/usr/bin/env bash
# check_media_file_for_spam is asked about each web page that a user's client wants a preview of. What becomes of it is kept for an
# hour and for all users, a failure of the module as well.
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

from synapse.module_api import NOT_SPAM


class Module:
    def __init__(self, config, api):
        api.register_spam_checker_callbacks(check_media_file_for_spam=self.media)
        self.failed = False

    async def media(self, wrapper, info):
        content = []
        await wrapper.write_chunks_to(content.append)
        with open(os.environ["ASKED"], "a") as f:
            f.write(f"{b''.join(content)[:6].decode()} {info.url_cache}\n")
        if not self.failed:
            self.failed = True
            raise TimeoutError("away for a moment")
        return NOT_SPAM
PY
URL=$url PYTHONPATH=$here/lib "$python" - <<'PY'
import http.server
import threading

from client import asked, call, quote, register


class Site(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b'<html><head><meta property="og:title" content="Hello"></head><body>Hello</body></html>'
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


site = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site)
threading.Thread(target=site.serve_forever, daemon=True).start()
alice, bob = register("alice"), register("bob")


def preview(user, page):
    url = quote(f"http://127.0.0.1:{site.server_port}/{page}")
    status, body = call(user, "GET", f"/_matrix/client/v1/media/preview_url?url={url}")
    return status, body.get("og:title", body.get("errcode"))


print("Synapse 1.163.2, previews of two pages, while the module is away for the first question:")
for who, user in (("alice", alice), ("alice again", alice), ("bob", bob)):
    got, questions = preview(user, "first"), asked()
    print(f"  first page, {who}:", *got, questions)
    assert got == (500, "M_UNKNOWN") and questions == (["<html> True"] if who == "alice" else []), (got, questions)
for who, user in (("alice", alice), ("bob", bob)):
    got, questions = preview(user, "second"), asked()
    print(f"  second page, {who}:", *got, questions)
    assert got == (200, "Hello") and questions == (["<html> True"] if who == "alice" else []), (got, questions)
PY
