#!/usr/bin/env bash
# on_profile_update is told of changes that it cannot see: a client that sets a field of its own, such as a time zone, is reported with the
# same name and avatar as before, and so is one that sets the name that it has.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib/synapse.bash
source "$here/lib/synapse.bash"
ASKED=$(mktemp) && export ASKED
synapse 1.163.2 <<'PY'
import os


class Module:
    """Notes what it is told of profiles."""

    def __init__(self, config, api):
        api.register_third_party_rules_callbacks(on_profile_update=self.update)

    async def update(self, user, profile, by_admin, deactivation):
        with open(os.environ["ASKED"], "a") as f:
            print(profile, file=f)
PY
URL=$url PYTHONPATH=$here/lib "$python" - <<'PY'
from client import asked, call, quote, register

token, user = register("user"), quote("@user:example.com")
ANN = "ProfileInfo(avatar_url=None, display_name='Ann')"

print("Synapse 1.163.2, what on_profile_update is told when a client sets:")
for method, field, value in (
    ("PUT", "displayname", "Ann"),
    ("PUT", "displayname", "Ann"),
    ("PUT", "m.tz", "Europe/Paris"),
    ("PUT", "m.tz", "Europe/Rome"),
    ("DELETE", "m.tz", None),
):
    body = None if value is None else {field: value}
    assert call(token, method, f"/_matrix/client/v3/profile/{user}/{field}", body)[0] == 200
    told = asked()
    print(f"  {field} to {value!r}: {told[0] if told else 'nothing'}")
    assert told == [ANN], told
PY
