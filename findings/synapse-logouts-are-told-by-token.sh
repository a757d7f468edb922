#!/usr/bin/env bash
# on_logged_out is told of tokens, and a session that refreshes its token has many: when it logs out, a module is told twice, of the last two,
# with the same device. Of those that were replaced before it is told nothing, neither then nor when they were replaced.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib/synapse.bash
source "$here/lib/synapse.bash"
ASKED=$(mktemp) && export ASKED
synapse 1.163.2 <<'PY'
import os


class Module:
    """Notes which tokens it is told have been logged out."""

    def __init__(self, config, api):
        api.register_password_auth_provider_callbacks(on_logged_out=self.out)

    async def out(self, user, device, token):
        with open(os.environ["ASKED"], "a") as f:
            print(device, token, file=f)
PY
URL=$url PYTHONPATH=$here/lib "$python" - <<'PY'
from client import asked, call, register

V3 = "/_matrix/client/v3"
register("user")


def session(refreshes):
    """The tokens of a session, the last of which logs out."""
    body = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": "user"}, "password": "password", "refresh_token": True}
    got = call("", "POST", f"{V3}/login", body)[1]
    tokens = [got["access_token"]]
    for _ in range(refreshes):
        got = call("", "POST", f"{V3}/refresh", {"refresh_token": got["refresh_token"]})[1]
        tokens.append(got["access_token"])
        assert call(tokens[-1], "GET", f"{V3}/account/whoami")[0] == 200
    assert asked() == [], "nothing is told when a token is replaced"
    assert call(tokens[-1], "POST", f"{V3}/logout", {})[0] == 200
    return tokens


print("Synapse 1.163.2, a session that refreshes its token, and on_logged_out when it logs out:")
for refreshes, wanted in ((0, 1), (1, 2), (10, 2)):
    tokens = session(refreshes)
    told = [line.split()[1] for line in asked()]
    print(f"  {refreshes} refreshes, {len(tokens)} tokens: told of {len(told)}")
    assert sorted(told) == sorted(tokens[-wanted:]), told
PY
