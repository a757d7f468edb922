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
cat >"$dir/origin.py" <<'PY'
"""Another homeserver, that has two files."""

import datetime
import http.server
import ipaddress
import ssl
import threading

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

fetched = []


class Origin(http.server.BaseHTTPRequestHandler):
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


def start(folder):
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.timezone.utc)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    with open(f"{folder}/origin.pem", "wb") as f:
        f.write(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        f.write(certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{folder}/origin.pem")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Origin)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"127.0.0.1:{server.server_port}"
PY
URL=$url DIR=$dir PYTHONPATH=$here/lib:$dir "$python" - <<'PY'
import os
import urllib.error
import urllib.request

import origin
from client import asked, register

alice = register("alice")
server = origin.start(os.environ["DIR"])


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
    print(f"  {file}: fetched {len(origin.fetched)} times, asked about {questions} times;", *got)
    assert len(got) == 1 and len(origin.fetched) == questions == fetches, (got, origin.fetched, questions)
    origin.fetched.clear()
PY
