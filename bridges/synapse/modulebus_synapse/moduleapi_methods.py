"""How the methods of the Module API are called in Synapse, as their declarations say.

The request's fields are keyword arguments, and the result is the reply.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from synapse.api import constants
from synapse.module_api import ModuleApi
from synapse.api.errors import Codes, SynapseError
from synapse.storage.databases.main.stats import UserSortOrder
from synapse.types import RoomID, UserID, create_requester

from modulebus_synapse import workarounds
from modulebus_synapse.moduleapi_request import RequestElsewhere
from modulebus_synapse.moduleapi_values import METHODS, JsonDict, Method, arguments, bad, reply
from modulebus_synapse.table import Field


async def call(api: ModuleApi, name: str, message: JsonDict) -> JsonDict:
    """Calls a method. Raises SynapseError for what the caller can help, or should know."""
    method = METHODS.get(name)
    if method is None:
        raise SynapseError(404, "The Module API has no such method", Codes.UNRECOGNIZED)
    keywords = arguments(method.request, message)
    for field in method.request:
        convert = _FORMS.get(field.form)
        if convert is not None and field.name in keywords:
            keywords[field.name] = convert(api, keywords[field.name])
    _check_process(api, method)
    for field in method.request:
        if field.name in keywords:
            await _check(api, field, keywords[field.name])
    return reply(method, await _call(api, method, keywords))


async def _call(api: ModuleApi, method: Method, keywords: JsonDict) -> Any:
    if method.attributes:
        return {f.name: getattr(api, f.name, workarounds.PROPERTIES.get(f.name)) for f in method.reply}
    function = _function(api, method)
    request = _request(method, keywords)
    if request is not None:
        keywords[_unnamed(function, keywords)] = request
    keywords = {**_unsaid(method, function, keywords), **keywords}
    try:
        result = function(**keywords)
        result = await result if inspect.isawaitable(result) else result
    except AttributeError:
        workaround = workarounds.BY_METHOD.get(method.name)
        if workaround is None:
            raise
        result = await workaround(api, keywords)
    except Exception as e:
        raise _explained(e) from None
    return result if request is None or method.returns else request.response()


def _function(api: ModuleApi, method: Method) -> Callable[..., Any]:
    owner: Any = api
    for name in filter(None, method.of.split(".")):
        owner = getattr(owner, name, None)
        owner = owner() if inspect.isroutine(owner) else owner
    function = getattr(owner, method.name, None)
    if function is None:
        raise SynapseError(404, f"This version of Synapse has no {method.name}", Codes.UNRECOGNIZED)
    return function  # type: ignore[no-any-return]


def _unsaid(method: Method, function: Callable[..., Any], keywords: JsonDict) -> JsonDict:
    """What Synapse's own functions have to be given beside the fields: that an admin does it, and that there is nothing."""
    parameters = inspect.signature(function).parameters
    unsaid: JsonDict = {f.name: None for f in method.request if f.name in parameters and parameters[f.name].default is inspect.Parameter.empty}
    if "by_admin" in parameters and "requester" in parameters:
        unsaid.update(by_admin=True, requester=create_requester(keywords["user_id"]))
    return unsaid


def _request(method: Method, keywords: JsonDict) -> RequestElsewhere | None:
    """The HTTP request that some of the arguments are parts of."""
    parts = [f.name for f in method.request if "of_request" in f.marks]
    if not parts:
        return None
    return RequestElsewhere(**{name: keywords.pop(name, "") for name in parts})


def _unnamed(function: Callable[..., Any], keywords: JsonDict) -> str:
    """The name of the parameter that takes the request: the first that nothing is passed for."""
    return next(name for name in inspect.signature(function).parameters if name not in keywords)


def _explained(e: Exception) -> Exception:
    """What the caller can help, of what Synapse raises as if it could not."""
    kinds = {kind.__name__ for kind in type(e).__mro__}
    if "RuleNotFoundException" in kinds:
        return SynapseError(404, "There is no such push rule", Codes.NOT_FOUND)
    if "InvalidRuleException" in kinds:
        return SynapseError(400, f"The push rule cannot be so: {e}", Codes.INVALID_PARAM)
    if "ExternalIDReuseException" in kinds:
        return SynapseError(409, "This external ID is another user's", Codes.UNKNOWN)
    return e


def _check_process(api: ModuleApi, method: Method) -> None:
    if method.runs_on == "MAIN" and api.worker_app is not None:
        raise _elsewhere("the main process")
    if method.runs_on == "PRESENCE_WRITER":
        if api._hs.get_instance_name() not in api._hs.config.worker.writers.presence:
            raise _elsewhere("the process that writes presence")


def _elsewhere(process: str) -> SynapseError:
    return SynapseError(501, f"In Synapse, only {process} does this: busd's homeserver.url should lead there")


async def _check(api: ModuleApi, field: Field, value: Any) -> None:
    if field.only and value != field.only:
        raise SynapseError(400, f"field {field.name}: must be {field.only}", Codes.INVALID_PARAM)
    if field.user:
        _check_local(api, field.name, value)
    if field.user == "REGISTERED" and await api.get_userinfo_by_id(value) is None:
        raise SynapseError(404, "There is no such user", Codes.NOT_FOUND)
    if field.name == "access_token" and not value.isascii():
        raise SynapseError(401, "Invalid access token passed.", Codes.UNKNOWN_TOKEN)


def _check_local(api: ModuleApi, path: str, user_id: str) -> None:
    if not api.is_mine(user_id):
        raise SynapseError(400, f"field {path}: must be a user of this server", Codes.INVALID_PARAM)
    UserID.from_string(user_id)


def _actions(_: ModuleApi, texts: list[str]) -> list[Any]:
    """Words, and the texts of JSON objects."""
    try:
        return [json.loads(text) if text.lstrip().startswith(("{", '"')) else text for text in texts]
    except ValueError:
        raise bad("field actions: must be words, and the texts of JSON objects") from None


def _event(api: ModuleApi, event: Mapping[str, Any]) -> Mapping[str, Any]:
    for name, kind in (("type", str), ("room_id", str), ("sender", str), ("content", dict)):
        if not isinstance(event.get(name), kind):
            raise bad(f"field event_dict.{name}: must be {'a string' if kind is str else 'an object'}")
    _check_local(api, "event_dict.sender", event["sender"])
    return event


def _registration_token(_: ModuleApi, token: str) -> str:
    if not re.fullmatch("[A-Za-z0-9._~-]{1,64}", token):
        raise SynapseError(400, "field token: must be 1 to 64 of A-Z a-z 0-9 . _ ~ -", Codes.INVALID_PARAM)
    return token


def _one_of(field: str, kind: Any) -> Callable[[ModuleApi, str], Any]:
    """What makes of a text the member of an enum that it names."""

    def member(_: ModuleApi, text: str) -> Any:
        try:
            return kind(text)
        except ValueError:
            raise SynapseError(400, f"field {field}: must be one of {', '.join(m.value for m in kind)}", Codes.INVALID_PARAM) from None

    return member


_FORMS: dict[str, Callable[[ModuleApi, Any], Any]] = {
    "USER_ID": lambda _, value: UserID.from_string(value),
    "ROOM_ID": lambda _, value: RoomID.from_string(value),
    "PUSH_ACTIONS": _actions,
    "EVENT": _event,
    "DIRECTION": _one_of("direction", getattr(constants, "Direction", str)),
    "USER_SORT_ORDER": _one_of("order_by", UserSortOrder),
    "REGISTRATION_TOKEN": _registration_token,
}
