"""The command modulebus-synapse-module: a Synapse module as a worker."""

from __future__ import annotations

import argparse
import asyncio
import importlib.metadata
import logging
import os
import sys
from typing import Any

from .. import table
from ..answers import ConfigError, MatrixError, NoHomeserver
from ..homeserver import Homeserver
from ..module import ALL_STATE, Handler
from ..program import CRASHED, REFUSED, cut_off_later, ending, parse, run
from ..worker import Options
from .source import trees_of, uses, version

logger = logging.getLogger("modulebus")

RETRY = 1.0  # seconds between questions whether the homeserver is there
SECTIONS = ("modules", "password_providers", "spam_checker", "third_party_event_rules", "presence_router")


def main() -> None:
    """Runs the module that the command line names, and does not return. Exit statuses are those of modulebus.main."""
    parser = argparse.ArgumentParser(prog="modulebus-synapse-module")
    parser.add_argument("class_name", metavar="package.Class", help="as in homeserver.yaml")
    parser.add_argument("--tolerate", default="", help="names, with commas between them, that the module may use although they fail when called")
    parser.add_argument("--section", default="modules", choices=SECTIONS, help="where in homeserver.yaml the class was: an older interface has a section of its own")
    parser.add_argument("--state", default="", help="the state of the room that its callbacks need, such as m.room.power_levels=,m.room.member; default: all of it")
    flags = parse(parser, sys.argv[1:])
    try:
        state = needed(flags.state)
    except ValueError as error:
        parser.error(f"--state: {error}")
    os.environ["SYNAPSE_ASYNC_IO_REACTOR"] = "1"  # Before anything of Synapse's is imported.
    try:
        import synapse.app.homeserver  # noqa: F401  # First: some modules are in a circle of imports without it.
    except ModuleNotFoundError as error:
        logger.error("package %s is missing: pip install matrix-synapse, of the version that the server runs, into %s", error.name, sys.prefix)
        sys.exit(REFUSED)
    from twisted.internet import reactor as twisted_reactor

    reactor: Any = twisted_reactor

    loop = reactor._asyncioEventloop
    status = CRASHED

    async def live() -> None:
        nonlocal status
        try:
            module = SynapseModule(flags.class_name, set(filter(None, flags.tolerate.split(","))), flags.section, state)
            status = await ending(run(module, version(flags.class_name), Options(), flags))
        finally:
            reactor.stop()

    reactor.callWhenRunning(lambda: loop.create_task(live()))
    try:
        reactor.run(installSignalHandlers=False)
    finally:  # A module's sys.exit in a task of its own comes out here, and live() does not end.
        cut_off_later(status)
    sys.exit(status)


def needed(text: str) -> Any:
    """Reads what state is needed: types with commas between them, each with = and a state key where only that one is. ValueError: it
    is not that."""
    if not text:
        return ALL_STATE
    needs = [(kind, key if equals else None) for kind, equals, key in (part.strip().partition("=") for part in text.split(","))]
    if not all(kind for kind, _ in needs):
        raise ValueError("a type of event is missing (write m.room.power_levels=,m.room.member)")
    return needs


class SynapseModule:
    """Makes an unmodified Synapse module. It implements worker.Builder.

    A changed configuration needs another process: such modules register and start loops in their constructors, and nobody
    can undo that.
    """

    restarts = True

    def __init__(self, module: str, tolerated: set[str], section: str = "modules", state: Any = ALL_STATE) -> None:
        self.module = module
        self.tolerated = tolerated
        self.section = section
        self.state = state

    async def build(self, config: dict[str, Any], homeserver: Homeserver) -> dict[str, Handler]:
        """Implements worker.Builder. It waits for the homeserver: modules read from it in their constructors, once."""
        self._refuse_what_cannot_work()
        properties = await self._await_homeserver(homeserver)
        self._compare_versions(properties.get("version"))
        from . import host
        from .api import ModuleApi

        hs = host.make(homeserver.server_name, properties.get("public_baseurl"))
        api = ModuleApi(hs, homeserver, properties, self.state)
        kind = await self._construct(config, api)
        self._serve(hs, api, homeserver)
        if not api.registered and not api.resources:
            self._say_that_nothing_is_registered(kind)
        return api.registered  # type: ignore[return-value]

    def _say_that_nothing_is_registered(self, kind: type) -> None:
        from .legacy import section_of

        logger.warning("%s registers no callback and no web resource: nothing is ever asked of it", self.module)
        if self.section == "modules" and (section := section_of(kind)):
            logger.warning("%s has the methods of an older interface: add --section %s after its name in run", self.module, section)

    def _refuse_what_cannot_work(self) -> None:
        """Raises ConfigError for a module that uses what is only in Synapse's own process."""
        try:
            trees = trees_of(self.module)
        except (ImportError, ValueError, SyntaxError):
            trees = {}  # Importing it says what is wrong.
        served = {method.of_another for method in table.methods().values()}
        if found := [use for use in uses(trees, served) if use.name not in self.tolerated]:
            raise ConfigError(
                f"{self.module} cannot run out of Synapse's process: {found[0]}, and there are {len(found)} such places. "
                f"Run it in Synapse; or, if it can live without, add --tolerate {','.join(sorted({u.name for u in found}))}"
            )

    async def _await_homeserver(self, homeserver: Homeserver) -> dict[str, Any]:
        said = False
        while True:
            try:
                return vars(await homeserver.properties())
            except (NoHomeserver, MatrixError, TimeoutError) as error:
                if not said:
                    logger.warning("waiting for the homeserver, which modules read from when they are constructed: %s", error)
                said = True
            await asyncio.sleep(RETRY)

    def _compare_versions(self, theirs: str | None) -> None:
        """Says when the Synapse whose classes the module is given is not the one that asks it."""
        own = importlib.metadata.version("matrix-synapse")
        if theirs and theirs != own:
            logger.warning("the homeserver is Synapse %s, and the module is given the classes of %s: install that version into %s", theirs, own, sys.prefix)

    async def _construct(self, config: dict[str, Any], api: Any) -> type:
        """Does what Synapse does with an entry of the section. Whatever goes wrong is a configuration that is refused."""
        from synapse.util.module_loader import load_module

        from .legacy import MAKERS

        try:
            kind, parsed = load_module({"module": self.module, "config": config}, ())
            make = MAKERS.get(self.section, lambda kind, parsed, api: kind(parsed, api))
            await api.run("construct", make, kind, parsed, api)
            return kind
        except ModuleNotFoundError as error:
            raise ConfigError(f"{self.module}: package {error.name} is missing: install it into {sys.prefix}") from error
        except (Exception, SystemExit) as error:
            logger.exception("%s cannot be constructed", self.module)
            path = ".".join(str(p) for p in getattr(error, "path", None) or () if p != "config")
            text = str(getattr(error, "msg", "")) or f"raised {type(error).__name__}"
            raise ConfigError(f"{self.module}: {text}; its log has more", path) from error

    def _serve(self, hs: Any, api: Any, homeserver: Homeserver) -> None:
        if not api.resources:
            return
        from .site import Proxy, listen, socket_path

        path = socket_path()
        listen(hs, api.resources, path)
        for resource in api.resources:
            homeserver.register_web_resource(resource, Proxy(path))
