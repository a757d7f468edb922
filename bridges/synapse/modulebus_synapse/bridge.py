"""The Synapse module."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from typing import Any

import attr
from synapse.module_api import ModuleApi
from synapse.module_api.errors import ConfigError

from modulebus_synapse.ask import Asker, function
from modulebus_synapse.config import Config, parse
from modulebus_synapse.door import Door, Unreachable, revision, tells
from modulebus_synapse.moduleapi import ModuleApiResource
from modulebus_synapse.older import completed
from modulebus_synapse.table import TABLE, Callback
from modulebus_synapse.web import ProxyResource

logger = logging.getLogger(__name__)

_FIRST_PAUSE = 0.1  # Seconds between attempts to reach busd.
_LONGEST_PAUSE = 2.0
_POLL_PAUSE = 0.05  # Between two polls at least, whatever busd answers.

LoginType = tuple[str, tuple[str, ...]]  # With its fields.


class ModuleBus:
    """Asks busd what Synapse asks its modules, as far as some module of the bus wants to be asked."""

    def __init__(self, config: Config, api: ModuleApi):
        self.api = api = completed(api)
        self.door = Door(config, api._hs.get_reactor(), api.server_name)
        self.asker = Asker(config, api, self.door)
        self.named: str | None = None  # What busd said last that this server is called.
        self.registered: set[str] = set()  # Names of callbacks.
        self.login_types: dict[str, tuple[str, ...]] = {}  # Those that are wanted.
        self.checkers: dict[str, tuple[str, ...]] = {}  # Those that were registered last.
        wants = self.door.wants_now()
        if wants is None or not tells(wants):
            self._guess(config)
        else:
            self._learn(wants)
        if config.api_token:
            api.register_web_resource("/_synapse/modulebus", ModuleApiResource(api, config.api_token))
        for path in config.web:
            api.register_web_resource(path, ProxyResource(self.door))
        api.run_as_background_process("modulebus_wants", self._follow, revision(wants or {}))

    @staticmethod
    def parse_config(config: dict[str, Any]) -> Config:
        return parse(config)

    def _guess(self, config: Config) -> None:
        """Takes for wanted all that may be, since what nobody is asked about is let pass.

        That is what decides something and does not skip without busd, and what the operator named. It does as on_failure
        says until busd says what is wanted.
        """
        logger.error("busd has not said yet what its modules want: until it does, all that they may want does as on_failure says")
        names: dict[str, list[str]] = {}
        for callback in TABLE.callbacks.values():
            shut = callback.decides and set(attr.astuple(config.policy(callback))) != {"skip"}
            if callback.name in config.on_failure or shut and self._has(callback):
                names.setdefault(callback.category, []).append(callback.name)
        self._update({"callbacks": names})

    def _has(self, callback: Callback) -> bool:
        """Whether this Synapse has the callback."""
        return callback.name in self._parameters(callback.category)

    def _parameters(self, category: str) -> Any:
        """What of a category this Synapse has."""
        register = getattr(self.api, f"register_{category}_callbacks", None)
        return inspect.signature(register).parameters if register else {}

    async def _follow(self, after: int) -> None:
        """Hears of what is wanted, for as long as Synapse runs."""
        pause = _FIRST_PAUSE
        while True:
            try:
                wants = await self.door.wants(after)
                if wants is not None:
                    self._learn(wants)
                    after = revision(wants)
                pause = _POLL_PAUSE
            except Unreachable:
                pause = min(max(2 * pause, _FIRST_PAUSE), _LONGEST_PAUSE)
            except Exception:
                logger.exception("cannot use what busd says is wanted")
                pause = _LONGEST_PAUSE
            await self.api.sleep(pause)

    def _learn(self, wants: dict[str, Any]) -> None:
        """Goes by what busd says is wanted."""
        self._update(wants)
        self.asker.known = True

    def _update(self, wants: dict[str, Any]) -> None:
        self._compare_names(wants.get("server_name"))
        by_category = wants.get("callbacks") or {}
        self.asker.wanted = {f"{category}.{name}" for category, names in by_category.items() for name in names}
        self.asker.state = wants.get("state") or {}
        self.login_types = {t: tuple(fields) for t, fields in (wants.get("login_types") or {}).items()}
        new: dict[str, dict[str, Any]] = {}
        for callback in TABLE.callbacks.values():
            if not self._due(callback):
                continue
            if any("key" in f.marks for f in callback.request):
                found: Any = self._checkers(callback)
            else:
                found = None if callback.name in self.registered else self._function(callback)
            if found:
                new.setdefault(callback.category, {})[callback.name] = found
        for category, functions in new.items():
            self._register(category, functions)

    def _compare_names(self, theirs: str | None) -> None:
        if theirs and theirs not in (self.api.server_name, self.named):
            logger.error("this server is %s, and busd's server_name is %s: modules take its users for strangers",
                         self.api.server_name, theirs)
        self.named = theirs

    def _due(self, callback: Callback) -> bool:
        """Whether it has to be registered: it is wanted, or something of a category that is registered as a whole."""
        if callback.all_or_none or callback.rule == "SOLE":
            return any(name.startswith(callback.category + ".") for name in self.asker.wanted)
        return callback.full_name in self.asker.wanted

    def _checkers(self, callback: Callback) -> dict[LoginType, Callable[..., Any]]:
        """Functions for login types that are not registered yet, or with other fields."""
        new = {t: fields for t, fields in self.login_types.items() if self.checkers.get(t) != fields}
        self.checkers.update(new)
        return {login_type: self._function(callback, login_type) for login_type in new.items()}

    def _register(self, category: str, functions: dict[str, Any]) -> None:
        self.registered.update(functions)
        known = self._parameters(category)
        unknown = sorted(set(functions) - set(known))
        if unknown:
            logger.error("modules want %s, which this Synapse does not have", ", ".join(unknown))
        functions = {name: f for name, f in functions.items() if name in known}
        if not functions:
            return
        try:
            getattr(self.api, f"register_{category}_callbacks")(**functions)
            logger.info("registered %s", ", ".join(sorted(functions)))
        except ConfigError as e:  # This Synapse has others authenticate its users.
            logger.error("cannot register %s: %s", ", ".join(sorted(functions)), e.msg)

    def _function(self, callback: Callback, login_type: LoginType | None = None) -> Callable[..., Any]:
        """What Synapse calls. Of some callbacks it looks at the parameters, and in metrics it names them."""

        def active() -> bool:
            # Synapse keeps what was registered before a login type got other fields.
            return login_type is None or self.login_types.get(login_type[0]) == login_type[1]

        f = function(self.asker, callback, active)
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        parameters = [inspect.Parameter(field.name, kind) for field in callback.request]
        f.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        f.__name__ = callback.name
        f.__qualname__ = f"ModuleBus.{callback.name}"
        f.__module__ = __name__
        return f
