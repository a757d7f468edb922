#!/usr/bin/env bash
# Synapse says that its version is another when its environment lies in somebody's git checkout, and matrix-synapse-ldap3 registers
# nobody then.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/plain" "$dir/configuration"
git init --quiet --initial-branch=main "$dir/configuration"
git -C "$dir/configuration" -c user.name=a -c user.email=a@example.com commit --quiet --allow-empty --message='homeserver.yaml'
for place in plain configuration; do
	python3 -m venv "$dir/$place/venv"
	"$dir/$place/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
		matrix-synapse==1.163.2 matrix-synapse-ldap3==0.4.0 'setuptools<82'
done
cat >"$dir/register.py" <<'PY'
import asyncio
import sys

import ldap_auth_provider
import synapse
from packaging.version import InvalidVersion


class Api:
    """As much of ModuleApi as registering needs."""

    def get_qualified_user_id(self, localpart):
        return f"@{localpart}:example.com"

    async def check_user_exists(self, user_id):
        return None

    async def register(self, localpart, displayname, emails):
        return f"@{localpart}:example.com", "token"


config = ldap_auth_provider.LdapAuthProviderModule.parse_config({
    "enabled": True, "uri": "ldap://127.0.0.1:1", "base": "dc=example", "attributes": {"uid": "uid", "mail": "mail", "name": "cn"},
})
module = object.__new__(ldap_auth_provider.LdapAuthProviderModule)
module.account_handler = Api()
try:
    said = asyncio.run(module.register_user("alice", "Alice", None))
except InvalidVersion as error:
    said = f"InvalidVersion: {str(error).split('(')[0].strip()}"
print(f"  {sys.argv[1]}: synapse.__version__ is {synapse.__version__.split(',')[0]!r}..., register_user: {said}")
assert ("(b=main" in synapse.__version__) == (sys.argv[1] == "configuration"), synapse.__version__
assert said.startswith("InvalidVersion") == (sys.argv[1] == "configuration"), said
PY
echo "matrix-synapse 1.163.2, matrix-synapse-ldap3 0.4.0"
for place in plain configuration; do (cd "$dir/$place" && venv/bin/python "$dir/register.py" "$place"); done
