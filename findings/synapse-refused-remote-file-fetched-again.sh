#!/usr/bin/env bash
# A file of another server that check_media_file_for_spam refuses is fetched from there again, whole, for each request of a client, and
# the module is asked about it again each time.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib/synapse.bash
source "$here/lib/synapse.bash"
ASKED=$(mktemp) && export ASKED
# shellcheck disable=SC2034 # read by synapse
more='federation_verify_certificates: false
ip_range_blacklist: []'
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
            f.write(f"{info.server_name}\n")
        return Codes.FORBIDDEN if b"refused" in b"".join(content) else NOT_SPAM
PY
URL=$url DIR=$dir PYTHONPATH=$here/lib "$python" - <<'PY'
import http.server
import os
import urllib.error
import urllib.request

from client import asked, register
from server import start

fetched = []


class Origin(http.server.BaseHTTPRequestHandler):
    """Has two files."""

    def do_GET(self):
        file = self.path.split("?")[0].rpartition("/")[2]
        fetched.append(file)
        body = b"--x\r\nContent-Type: application/json\r\n\r\n{}\r\n--x\r\nContent-Type: text/plain\r\n\r\n" + file.encode() * 100_000 + b"\r\n--x--\r\n"
        self.send_response(200)
        self.send_header("Content-Type", "multipart/mixed; boundary=x")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


alice = register("alice")
server = start(os.environ["DIR"], Origin)


def download(file):
    path = f"/_matrix/client/v1/media/download/{server}/{file}"
    request = urllib.request.Request(os.environ["URL"] + path, headers={"Authorization": f"Bearer {alice}"})
    try:
        with urllib.request.urlopen(request) as response:
            return response.status, len(response.read())
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


print("Synapse 1.163.2, a client that downloads a file of another server five times:")
for file, fetches in (("wanted", 1), ("refused", 5)):
    got = {download(file) for _ in range(5)}
    questions = len(asked())
    print(f"  {file}: fetched {len(fetched)} times, asked about {questions} times;", *got)
    assert len(got) == 1 and len(fetched) == questions == fetches, (got, fetched, questions)
    fetched.clear()
PY
