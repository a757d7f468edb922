#!/usr/bin/env bash
# Synapse gives user_may_create_room the room's configuration when its function has exactly two parameters, whichever they are: *args
# counts as one and **kwargs as another, and one with a default, or by keyword only, counts too. So a function with *args alone is never
# told what room it is about, nor is (user_id, room_config=None, *, strict=False), and a check of the configuration lets every room
# pass; and a function of one parameter fails behind a decorator that takes *args and **kwargs.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/python" -m pip install --quiet --disable-pip-version-check matrix-synapse==1.163.2 'setuptools<82'
cat >"$dir/ask.py" <<'PY'
import importlib.metadata
from unittest.mock import MagicMock

from synapse.module_api.callbacks.spamchecker_callbacks import SpamCheckerModuleApiCallbacks
from twisted.internet import defer


def ask(function):
    """Registers a function, and has Synapse ask about a public room. It returns what the function was called with, or what failed."""
    told = []
    homeserver = MagicMock(hostname="example.com")
    homeserver.get_clock.return_value.time.return_value = 0.0
    callbacks = SpamCheckerModuleApiCallbacks(homeserver)
    callbacks.register_callbacks(user_may_create_room=function(told))
    outcome = []
    asked = defer.ensureDeferred(callbacks.user_may_create_room("@alice:example.com", {"preset": "public_chat"}))
    asked.addBoth(outcome.append)
    return told or type(outcome[0].value).__name__


def plain(told):
    async def function(user_id, room_config):
        told.append(room_config)
        return "NOT_SPAM"

    return function


def star(told):
    async def function(*args):
        told.append(args[1:])
        return "NOT_SPAM"

    return function


def optional(told):
    async def function(user_id, room_config=None, *, strict=False):
        told.append(room_config)
        return "NOT_SPAM"

    return function


def decorated(told):
    async def function(user_id):
        told.append(())
        return "NOT_SPAM"

    async def wrapper(*args, **kwargs):
        return await function(*args, **kwargs)

    return wrapper


print("matrix-synapse", importlib.metadata.version("matrix-synapse"))
config = {"preset": "public_chat"}
for signature, function, want in (
    ("(user_id, room_config)", plain, [config]),
    ("(*args)", star, [()]),
    ("(user_id, room_config=None, *, strict=False)", optional, [None]),
    ("(user_id) behind (*args, **kwargs)", decorated, "TypeError"),
):
    got = ask(function)
    print(f"  {signature}: {got}")
    assert got == want, got
PY
"$dir/venv/bin/python" "$dir/ask.py" 2>/dev/null
