"""Synapse's ModuleApi, for a module in a process of its own: what it registers is kept, and what it calls goes over the bus."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from synapse import module_api as real
from synapse.handlers.auth import AuthHandler
from synapse.handlers.deactivate_account import DeactivateAccountHandler
from synapse.logging.context import LoggingContext, make_deferred_yieldable  # type: ignore[attr-defined]
from synapse.module_api.callbacks import spamchecker_callbacks
from synapse.module_api.callbacks.spamchecker_callbacks import SpamCheckerModuleApiCallbacks
from synapse.module_api.errors import SynapseError
from synapse.storage.databases.main import DataStore
from synapse.types import UserID
from twisted.internet import defer

from .. import table
from ..answers import Failure, MatrixError, NoHomeserver
from ..homeserver import Homeserver, Loop
from ..module import ALL_STATE, Needs
from . import eager, values, verdicts
from .host import Host

logger = logging.getLogger("modulebus")

# What Synapse measures of each callback nobody can read in this process, and it takes as long as all the rest.
spamchecker_callbacks.Measure = lambda *_, **__: contextlib.nullcontext()  # type: ignore[assignment, attr-defined]


class Registered:
    """A callback that a module registered: what is asked over the bus, and answered by the module's function."""

    def __init__(self, api: ModuleApi, callback: table.Callback, needs: Needs, function: Callable[..., Any]) -> None:
        self.api = api
        self.callback = callback
        self.needs = needs
        self.call = function
        self.followed_up = any("followed_up" in f.marks for f in callback.reply)
        self.fields = sorted(callback.request, key=lambda f: f.argument or callback.request.index(f) + 1)

    def read(self, data: Any) -> Any:
        """Implements Handler: a request stays JSON until the module's function is called."""
        return data

    def write(self, answer: Any, worker: str) -> dict[str, Any]:
        """Implements Handler: function returns the reply, but for the worker that a follow-up goes to."""
        to_worker = {f.name: worker for f in self.callback.reply if "to_worker" in f.marks and answer.get("token")}
        return {**answer, **to_worker}

    async def function(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Calls the module as Synapse calls it, and returns the reply."""
        arguments = {f.name: self._argument(f, request) for f in self.fields}
        if verdicts.is_by_event(self.callback):
            return await self._each(next(iter(arguments.values())))
        before = {name: values.plain(v) for name, v in arguments.items() if isinstance(v, dict)}
        try:
            outcome = await self.api.run(self.callback.name, self.call, *self._fitting(list(arguments.values())))
            outcome, later = await self.api.later.keep(self.api, outcome, self.followed_up)
        except SynapseError as error:
            if self.callback.verdict in verdicts.RAISES:
                return verdicts.refusal(error)
            raise Failure(f"raised SynapseError {error.code} {values.text(error.errcode)}") from error
        return {**verdicts.reply(self.callback, outcome, before, arguments), **self._followed_up(later)}

    @functools.cached_property
    def _taken(self) -> tuple[int | None, dict[int, Any]]:
        """Says how many arguments the module's function takes, None for all, and by their places, which it wants as identifiers."""
        parameters = list(inspect.signature(self.call).parameters.values())
        positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        kinds = [str(p.annotation).rpartition(".")[2].strip("'>") for p in positional]
        identifiers = {i: getattr(real, kind) for i, kind in enumerate(kinds) if kind in ("RoomAlias", "RoomID", "UserID")}
        return None if any(p.kind is p.VAR_POSITIONAL for p in parameters) else len(positional), identifiers

    def _fitting(self, arguments: list[Any]) -> list[Any]:
        """Drops the last arguments that a function of an older signature does not take, and makes the identifiers it wants."""
        most, identifiers = self._taken
        arguments = arguments[:most]
        for i, kind in identifiers.items():
            if i < len(arguments) and isinstance(arguments[i], str):
                arguments[i] = kind.from_string(arguments[i])
        return arguments

    async def _each(self, events: list[Any]) -> dict[str, Any]:
        """Calls a function that takes one event about each of several, and returns the reply about all of them."""
        about = {e.event_id: await self.api.run(self.callback.name, self.call, e) for e in events}
        return verdicts.by_event(self.callback, about)

    def _followed_up(self, token: str) -> dict[str, Any]:
        """Is what a reply says of a follow-up that the module wants."""
        told = {f.name: True for f in self.callback.reply if "followed_up" in f.marks}
        return {"token": token, **told} if token else {}

    def _argument(self, field: table.Field, request: Mapping[str, Any]) -> Any:
        value = request.get(field.name)
        if field.type == "FileWrapper":
            size = value.get("size") if value else None
            return values.File(self.api.reader(value or {}), None if size is None else int(size))
        if field.type == "json":
            return value if value is not None else {}
        return values.read(field, value)


class FollowUp:
    """The second half of callbacks: what Synapse does by calling something that the module returned."""

    needs = Needs()

    def __init__(self, api: ModuleApi, callback: table.Callback) -> None:
        self.api = api
        self.callback = callback
        self.given = next((f for f in callback.request if f.type in table.types()), None)

    def read(self, data: Any) -> Any:
        """Implements Handler."""
        return data

    def write(self, answer: Any, worker: str) -> dict[str, Any]:
        """Implements Handler."""
        return {}

    async def function(self, request: Mapping[str, Any]) -> None:
        """Calls what the module returned. What is not known, or was called already, is passed over."""
        kept = self.api.later.pop(request.get("token", ""))
        if kept is not None:
            given = () if self.given is None else (values.read(self.given, request.get(self.given.name)),)
            await self.api.run(self.callback.name, kept, *given)


class Later:
    """What modules returned to be called later, by token."""

    MOST = 4096  # Beyond, the oldest is forgotten.

    def __init__(self) -> None:
        self._kept: dict[str, Callable[..., Any]] = {}

    def pop(self, token: str) -> Callable[..., Any] | None:
        """Returns what was kept under a token, once."""
        return self._kept.pop(token, None)

    async def keep(self, api: ModuleApi, outcome: Any, later: bool) -> tuple[Any, str]:
        """Returns what an outcome says now, and the token of what is to be called later, if anything is. `later` is whether the
        outcome may be a pair with what is to be called."""
        if hasattr(outcome, "__aenter__"):
            now = await api.run("enter", outcome.__aenter__)
            return now, self._add(lambda: outcome.__aexit__(None, None, None))
        if later and isinstance(outcome, tuple) and len(outcome) == 2 and callable(outcome[1]):
            return (outcome[0], None), self._add(outcome[1])
        if isinstance(outcome, tuple) and len(outcome) == 2 and later and outcome[1] is not None:
            raise TypeError(f"returned a {type(outcome[1]).__name__} to call later")
        return outcome, ""

    def _add(self, function: Callable[..., Any]) -> str:
        if len(self._kept) >= self.MOST:
            self._kept.pop(next(iter(self._kept)))
        token = secrets.token_urlsafe(16)
        self._kept[token] = function
        return token


class ModuleApi(real.ModuleApi):
    """What a module gets as Synapse's ModuleApi. It is constructed without a database."""

    def __init__(self, hs: Host, homeserver: Homeserver, properties: Mapping[str, Any], state: Any = ALL_STATE) -> None:
        self._hs = hs
        self._state_needed = state
        self._homeserver = homeserver
        self._server_name = hs.hostname
        self._clock = hs.get_clock()
        self._http_client = hs.get_simple_http_client()
        self.custom_template_dir = hs.config.server.custom_template_directory
        self._spam_checkers: dict[str, SpamCheckerModuleApiCallbacks] = {}
        self._properties = properties
        self.registered: dict[str, Registered | FollowUp] = {}
        self.later = Later()
        self.resources: dict[str, Any] = {}
        self.checkers: dict[str, tuple[list[str], Callable[..., Any]]] = {}
        for path in _OWNERS:
            self._put(path, Remote(self, path))

    def _put(self, path: str, remote: Remote) -> None:
        """Puts a part that is called over the bus where modules look for it: an attribute, or what a get_… returns."""
        *way, name = path.split(".")
        owner: Any = self
        for step in way:
            owner = getattr(owner, step)
        setattr(owner, name, (lambda: remote) if name.startswith("get_") else remote)

    # What is the module's own.

    def register_web_resource(self, path: str, resource: Any) -> None:
        """Keeps a resource, which Synapse's own site serves then."""
        self.resources[path] = resource

    def keep(self, category: str, callbacks: Mapping[str, Any]) -> None:
        """Keeps the callbacks of a category. Names that nobody knows are said, and do no harm: nobody asks them."""
        for name, function in callbacks.items():
            if function is None:
                continue
            known = table.callbacks().get(name)
            if known is None or known.category != category:
                logger.warning("%s.%s is not a callback of Synapse's: it is never called", category, name)
            elif known.keyed:
                self._register_checkers(known, function)
            else:
                self._register(known, function)
        for known in table.callbacks().values():
            if any(f"{known.category}.{name}" in self.registered for name in known.follows):
                self.registered[known.full_name] = FollowUp(self, known)

    def _register(self, known: table.Callback, function: Callable[..., Any]) -> None:
        if hasattr(SpamCheckerModuleApiCallbacks, known.name):
            # Synapse's own knows how many arguments the function takes, and what its answers mean. Each callback has one for itself,
            # since some go on to another callback, which is asked by itself here.
            checker = self._spam_checkers.setdefault(known.name, SpamCheckerModuleApiCallbacks(self._hs))
            checker.register_callbacks(**{known.name: _seen(function)})
            function = getattr(checker, known.name)
        needs = Needs(state=self._state_needed) if known.stateful else Needs()
        self.registered[known.full_name] = Registered(self, known, needs, function)

    def _register_checkers(self, known: table.Callback, checkers: Mapping[tuple[str, tuple[str, ...]], Callable[..., Any]]) -> None:
        for (kind, fields), function in checkers.items():
            self.checkers[kind] = (list(fields), function)

        async def check(user: str, login_type: str, login_dict: Any) -> Any:
            return await self.checkers[login_type][1](user, login_type, login_dict)

        keys = {kind: fields for kind, (fields, _) in self.checkers.items()}
        self.registered[known.full_name] = Registered(self, known, Needs(keys=keys), check)

    def looping_background_call(self, f: Any, msec: float, *args: Any, desc: str | None = None, run_on_all_instances: bool = False, **kwargs: Any) -> None:
        """Has a function called again and again, on one worker if there are several, or on each."""

        async def call() -> None:
            await self.run(desc or f.__name__, lambda: f(*args, **kwargs))

        self._homeserver.loops.append(Loop(msec / 1000, call, led=not run_on_all_instances))

    def should_run_background_tasks(self) -> bool:
        """Returns True. Of several workers, the one that leads runs what looping_background_call is given."""
        return True

    def is_mine(self, id: Any) -> bool:
        """Reports whether an ID is of the homeserver."""
        domain = id.domain if hasattr(id, "domain") else str(id).partition(":")[2]
        return bool(domain == self._server_name)

    def get_qualified_user_id(self, username: str) -> str:
        """Returns the user ID of a local part."""
        return username if username.startswith("@") else UserID(username, self._server_name).to_string()

    @property
    def public_baseurl(self) -> str:
        """Is the homeserver's."""
        return str(self._properties.get("public_baseurl") or "")

    @property
    def email_app_name(self) -> str:
        """Is the homeserver's."""
        return str(self._properties.get("email_app_name") or "")

    @property
    def worker_name(self) -> None:
        """Is None: this is what modules take for the main process."""
        return None

    @property
    def worker_app(self) -> None:
        """Is None: this is what modules take for the main process."""
        return None

    # What goes over the bus.

    def register(self, localpart: str, displayname: str | None = None, emails: Any = None) -> Any:
        """Is Synapse's deprecated register: makes a user and a device, and returns the user ID and an access token."""

        async def both() -> Any:
            user = await self.register_user(localpart, displayname, emails or [])
            device = await self.register_device(user)
            return user, device[1]

        return defer.ensureDeferred(both())

    async def run(self, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """Runs somebody's Twisted code from asyncio, under a logging context of its own."""

        async def inside() -> Any:
            with LoggingContext(name=name, server_name=self._server_name):
                result = function(*arguments)
                return await result if inspect.isawaitable(result) or isinstance(result, defer.Deferred) else result

        running = eager.begin(inside())
        if isinstance(running, eager.Done):
            return running.result
        return await defer.ensureDeferred(running).asFuture(asyncio.get_running_loop())

    async def remote(self, awaitable: Awaitable[Any]) -> Any:
        """Awaits asyncio's from Twisted code."""
        return await make_deferred_yieldable(defer.Deferred.fromFuture(asyncio.ensure_future(awaitable)))

    def reader(self, file: Mapping[str, Any]) -> Callable[[Callable[[bytes], object]], Awaitable[None]]:
        """Returns what reads a file that a question is about."""

        async def read(callback: Callable[[bytes], object]) -> None:
            offset = 0
            while piece := await self.remote(self._homeserver._transport.piece(file["subject"], offset, 128 << 10)):
                offset += len(piece)
                callback(piece)

        return read

    async def call(self, method: table.Method, arguments: Mapping[str, Any]) -> Any:
        """Calls a method of the Module API, and returns what Synapse's would."""
        request = {f.name: values.write(f, arguments[f.name]) for f in method.request if arguments.get(f.name) is not None}
        try:
            reply = await self.remote(self._homeserver._transport.call(method.name, request))
        except MatrixError as error:
            raise SynapseError(error.status, error.error, error.errcode, error.fields) from None
        except (NoHomeserver, TimeoutError) as error:
            raise RuntimeError(str(error)) from None
        out = [values.read(f, reply.get(f.name)) for f in method.reply]
        return None if not out else out[0] if len(out) == 1 else tuple(out)


class Remote:
    """A part of Synapse, such as its store, of which some methods are called over the bus, and the others are not there."""

    def __init__(self, api: ModuleApi, path: str) -> None:
        self._api = api
        self._path = path

    def __getattr__(self, name: str) -> Any:
        method = table.methods().get(name)
        if method is None or method.of != self._path:
            raise AttributeError(f"{self._path}.{name} is only in Synapse's own process")
        original = inspect.getattr_static(_OWNERS[self._path], name)
        return functools.partial(_calls(method, getattr(original, "orig", original)), self)  # Some of the store are cached.


def _seen(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a function whose parameters are counted already, and whose coroutine has begun: Synapse's own counts them for each
    question, and makes two Deferreds of a coroutine."""

    @functools.wraps(function)
    def seen(*arguments: Any) -> Any:
        result = function(*arguments)
        return eager.begin(result) if asyncio.iscoroutine(result) else result

    seen.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    return seen


def _registers(category: str, original: Callable[..., Any]) -> Callable[..., None]:
    def register(self: ModuleApi, **callbacks: Any) -> None:
        self.keep(category, callbacks)

    register.__name__ = original.__name__
    register.__signature__ = inspect.signature(original)  # type: ignore[attr-defined] # Modules look into it.
    return register


def _calls(method: table.Method, original: Callable[..., Any]) -> Callable[..., Any]:
    """A method that is called as Synapse's is, and returns a coroutine or a Deferred as that one does."""
    signature = inspect.signature(original)
    request_parts = [f.name for f in method.request if "of_request" in f.marks]
    fields = {f.name for f in method.request}

    async def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(self, *args, **kwargs)
        arguments = dict(list(bound.arguments.items())[1:])
        if unknown := [n for n, v in arguments.items() if v is not None and n not in fields and n not in _SAID_BY_THE_BRIDGE and not request_parts]:
            raise TypeError(f"{method.name} takes no {' or '.join(unknown)} out of Synapse's process")
        if request_parts:
            arguments = {**arguments, **_of_request(arguments)}
        return await (self._api if isinstance(self, Remote) else self).call(method, arguments)

    def deferred(self: Any, *args: Any, **kwargs: Any) -> Any:
        return defer.ensureDeferred(call(self, *args, **kwargs))

    function = call if inspect.iscoroutinefunction(original) else deferred
    function.__name__ = method.name
    return function


def _of_request(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What the homeserver needs of an HTTP request that a module has."""
    request = next(v for v in arguments.values() if hasattr(v, "requestHeaders"))
    token = (request.getHeader("Authorization") or "").partition(" ")[2] or (request.args.get(b"access_token") or [b""])[0].decode()
    return {"access_token": token, "ip": request.getClientAddress().host, "user_agent": request.getHeader("User-Agent")}


_SAID_BY_THE_BRIDGE = frozenset(["requester", "by_admin"])

# The parts of Synapse whose methods are called over the bus, by where they are from the ModuleApi.
_OWNERS: dict[str, type] = {
    "_public_room_list_manager": real.PublicRoomListManager,
    "_account_data_manager": real.AccountDataManager,
    "_store": DataStore,
    "_auth_handler": AuthHandler,
    "_hs.get_deactivate_account_handler": DeactivateAccountHandler,
}

for _category in {c.category for c in table.callbacks().values()}:
    _original = getattr(real.ModuleApi, f"register_{_category}_callbacks", None)
    if _original is not None:
        setattr(ModuleApi, _original.__name__, _registers(_category, _original))
for _method in table.methods().values():
    _original = getattr(real.ModuleApi, _method.name, None)
    if not _method.of and callable(_original):
        setattr(ModuleApi, _method.name, _calls(_method, _original))
