"""A worker of the kit for Python that does what records say its module did. See ../python_test.go.

It is told so, and asked what it was called with, in requests beside those of the protocol. With "synapse" as its argument it is
a module that was written for Synapse, and does what the record has in Python's own values; else it is written with the kit, and
returns what the test has in the bus's.
"""

import asyncio
import json
import os
import sys
from typing import Any

SYNAPSE = sys.argv.pop(1) == "synapse"
if SYNAPSE:
    os.environ["SYNAPSE_ASYNC_IO_REACTOR"] = "1"
    import synapse.app.homeserver

import modulebus
from modulebus import messages, table, values
from modulebus.homeserver import Homeserver
from modulebus.link import dumps
from modulebus.module import Handler, handlers
from modulebus.worker import ClassBuilder, Options

cue: dict[str, Any] = {}  # what the module is to do now
saw: Any = None  # what it was called with last, as a request


class Actor:
    """A module that is written with the kit, and has all callbacks."""


def of_kit(known: table.Callback) -> Any:
    response = getattr(messages, f"{table.class_name(known.name)}Response")

    async def call(self: Actor, request: Any) -> Any:
        global saw
        saw = values.write(known.request, request)
        if cue["unsayable"]:
            return object()
        if cue["answer"] is not None:
            return values.read(response, known.reply, cue["answer"])
        if cue["kind"] == "raise":
            raise asyncio.CancelledError if cue["error"] == "CancelledError" else modulebus.Failure(cue["error"])
        return None

    call.__name__ = known.name
    state = modulebus.ALL_STATE if known.stateful else None
    return modulebus.callback(state=state, keys={"any": ["any"]} if known.keyed else None)(call)


for known in table.callbacks().values():
    setattr(Actor, known.name, of_kit(known))


class SynapseBuilder:
    """A module that was written for Synapse, and has all callbacks."""

    restarts = True

    async def build(self, config: dict[str, Any], homeserver: Homeserver) -> dict[str, Handler]:
        from modulebus.synapse import host
        from modulebus.synapse.api import ModuleApi

        self.api = ModuleApi(host.make(homeserver.server_name, None), homeserver, {})
        for known in table.callbacks().values():
            if not known.follows:
                function = {("any", ("any",)): of_synapse(known)} if known.keyed else of_synapse(known)
                getattr(self.api, f"register_{known.category}_callbacks")(**{known.name: function})
        self.api.checkers = AnyLogin(of_synapse(table.callbacks()["auth_checkers"]))
        return self.api.registered


class AnyLogin(dict):
    def __init__(self, function: Any) -> None:
        self.function = function

    def __missing__(self, key: str) -> Any:
        return [], self.function


def of_synapse(known: table.Callback) -> Any:
    from modulebus_synapse import encode
    from modulebus_synapse.table import TABLE

    asked = TABLE.callbacks[known.name]

    def act(args: tuple[Any, ...]) -> Any:
        global saw
        saw = recorded(json.loads(encode.dumps(encode.request(asked, args, {"all": True}))))
        mutate(known, args)
        if cue["kind"] == "raise":
            raise exception()
        return python(cue.get("value"))

    if any("to_worker" in f.marks for f in known.reply) and not any("followed_up" in f.marks for f in known.reply):
        return lambda *args: Bracket(act, args)
    if len(known.request) == 2 and known.category == "spam_checker":  # Synapse counts the parameters.

        async def two(a: Any, b: Any) -> Any:
            return act((a, b))

        return two

    async def call(*args: Any) -> Any:
        return act(args)

    return call


def recorded(v: Any) -> Any:
    """Drops the room's ID that the bridge says beside an event, and records do not."""
    if isinstance(v, list):
        return [recorded(x) for x in v]
    if isinstance(v, dict):
        return {k: recorded(x) for k, x in v.items() if k != "room_id" or "event_id" not in v or "json" not in v}
    return v


class Bracket:
    def __init__(self, act: Any, args: tuple[Any, ...]) -> None:
        self.act, self.args = act, args

    async def __aenter__(self) -> Any:
        return self.act(self.args)

    async def __aexit__(self, *exc: Any) -> None:
        pass


def mutate(known: table.Callback, args: tuple[Any, ...]) -> None:
    """Changes an argument where it is, as the record has it."""
    names = [f.name for f in sorted(known.request, key=lambda f: f.argument or known.request.index(f) + 1)]
    if change := cue.get("mutate"):
        argument = args[names.index(change["arg"])]
        for name, value in (change.get("set") or {}).items():
            argument[name] = value
        for name in change.get("unset") or []:
            argument.pop(name, None)
    elif cue["kind"] == "mutate":
        content = args[names.index("request_content")]
        if cue["what"] == "set":
            content[cue["key"]] = cue["value"]
        elif cue["what"] == "append":
            content[cue["key"]] = [*content.get(cue["key"], []), cue["value"]]
        else:
            content.pop(cue["key"], None)
        cue["value"] = None


def exception() -> BaseException:
    from synapse.module_api.errors import SynapseError
    from twisted.internet.defer import CancelledError

    if cue.get("code"):
        return SynapseError(cue["code"], cue["message"], cue["errcode"], cue.get("additional_fields"))
    return CancelledError() if cue["error"] == "CancelledError" else RuntimeError(cue["message"])


def python(v: Any) -> Any:
    """Makes of a record's value what Synapse's own modules return."""
    from synapse.api.presence import UserPresenceState
    from synapse.module_api import NOT_SPAM, PRESENCE_ALL_USERS, MediaUploadLimit, RatelimitOverride
    from synapse.module_api.errors import Codes
    from synapse.spam_checker_api import RegistrationBehaviour

    if isinstance(v, list):
        return [python(x) for x in v]
    if not isinstance(v, dict) or "$" not in v:
        return {k: python(x) for k, x in v.items()} if isinstance(v, dict) else v
    kind, items = v["$"], [python(x) for x in v.get("items", [])]
    simple = {"NOT_SPAM": NOT_SPAM, "ALL_USERS": PRESENCE_ALL_USERS}
    collections = {"tuple": tuple, "set": set, "frozenset": frozenset, "dict": dict}
    enums = {"Codes": Codes, "RegistrationBehaviour": RegistrationBehaviour}
    if kind in simple:
        return simple[kind]
    if kind in collections:
        return collections[kind](items)
    if kind in enums:
        return enums[kind](v["value"])
    if kind == "callable":
        return told
    classes = {c.__name__: c for c in (UserPresenceState, MediaUploadLimit, RatelimitOverride)}
    return classes[kind](**{k: x for k, x in v.items() if k != "$"})


async def told(response: Any) -> None:
    pass


class Builder:
    """Builds either of them, and hears what it is to do."""

    restarts = True

    async def build(self, config: dict[str, Any], homeserver: Homeserver) -> dict[str, Handler]:
        link = homeserver._transport

        async def on_cue(msg: Any) -> None:
            global cue
            cue = json.loads(msg.data)
            await link.client.publish(msg.reply, b"")

        async def on_saw(msg: Any) -> None:
            await link.client.publish(msg.reply, dumps(saw))

        await link.client.subscribe("actors.cue", cb=on_cue)
        await link.client.subscribe("actors.saw", cb=on_saw)
        if SYNAPSE:
            return await SynapseBuilder().build(config, homeserver)
        return await ClassBuilder(lambda config, homeserver: Actor()).build(config, homeserver)


def main() -> None:
    import argparse

    from modulebus.program import parse, run

    flags = parse(argparse.ArgumentParser(), sys.argv[1:])
    if not SYNAPSE:
        sys.exit(asyncio.run(run(Builder(), "1", Options(), flags)))
    from twisted.internet import reactor

    async def live() -> None:
        await run(Builder(), "1", Options(), flags)
        reactor.stop()

    reactor.callWhenRunning(lambda: reactor._asyncioEventloop.create_task(live()))
    reactor.run(installSignalHandlers=False)


main()
