#!/usr/bin/env bash
# check_registration_for_spam is asked about guests without a name, and without the address and user agent that it is given of all who register:
# a module that looks at addresses cannot tell one guest from another.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib/synapse.bash
source "$here/lib/synapse.bash"
ASKED=$(mktemp) && export ASKED
more='allow_guest_access: true
enable_registration: true
enable_registration_without_verification: true'
synapse 1.163.2 <<'PY'
import os

from synapse.spam_checker_api import RegistrationBehaviour


class Module:
    """Notes what it is asked about who registers."""

    def __init__(self, config, api):
        api.register_spam_checker_callbacks(check_registration_for_spam=self.check)

    async def check(self, email, username, requests, auth_provider=None):
        with open(os.environ["ASKED"], "a") as f:
            print(username, requests, file=f)
        return RegistrationBehaviour.ALLOW
PY
URL=$url PYTHONPATH=$here/lib "$python" - <<'PY'
import json
import urllib.request

from client import URL, asked


def registers(query, body):
    request = urllib.request.Request(f"{URL}/_matrix/client/v3/register{query}", json.dumps(body).encode(), {"User-Agent": "Browser"})
    with urllib.request.urlopen(request) as response:
        assert response.status == 200


print("Synapse 1.163.2, the name and the requests that check_registration_for_spam is given of")
for who, query, body, wanted in (
    ("a user", "", {"username": "user", "password": "password", "auth": {"type": "m.login.dummy"}}, "user [('Browser', '127.0.0.1')]"),
    ("a guest", "?kind=guest", {}, "None []"),
):
    registers(query, body)
    told = asked()
    print(f"  {who}: {told}")
    assert told == [wanted], told
PY
