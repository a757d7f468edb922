"""A client of a Synapse: register(name), and call(token, method, path, body), which returns status and body."""

import hashlib
import hmac
import json
import os
import urllib.error
import urllib.parse
import urllib.request

URL, quote = os.environ["URL"], lambda text: urllib.parse.quote(text, safe="")


def call(token, method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(URL + path, data, {"Authorization": f"Bearer {token}"}, method=method)
    try:
        with urllib.request.urlopen(request) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def register(name, admin=False):
    nonce = call("", "GET", "/_synapse/admin/v1/register")[1]["nonce"]
    text = "\0".join([nonce, name, "password", "admin" if admin else "notadmin"])
    mac = hmac.new(b"secret", text.encode(), hashlib.sha1).hexdigest()
    body = {"nonce": nonce, "username": name, "password": "password", "admin": admin, "mac": mac}
    return call("", "POST", "/_synapse/admin/v1/register", body)[1]["access_token"]


def asked():
    """What the module was asked since the last look."""
    with open(os.environ["ASKED"], "r+") as f:
        lines = f.read().splitlines()
        f.truncate(0)
    return lines
