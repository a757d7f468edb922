"""How each method of the Module API is called in Synapse.

Most have the request's fields as keyword arguments and the reply as their result. The rest is said here.
"""

import inspect
import json
from collections.abc import Awaitable, Callable
from typing import Any, cast

from synapse.module_api import ModuleApi, UserID
from synapse.module_api.errors import Codes, InvalidRuleException, RuleNotFoundException, SynapseError
from synapse.storage.databases.main.registration import ExternalIDReuseException
from synapse.types import RoomID

from modulebus_synapse.moduleapi_request import RequestElsewhere
from modulebus_synapse.moduleapi_values import METHODS, JsonDict, Method, arguments, bad, reply

_READS = ("check_", "get_", "is_", "lookup_", "properties", "room_is_")


def is_read(name: str) -> bool:
    """Whether it may be cancelled half way. Synapse cancels what reads, and has what writes go on to its end."""
    return name.startswith(_READS)


async def call(api: ModuleApi, name: str, message: JsonDict) -> JsonDict:
    """Calls a method. Raises SynapseError for what the caller can help, or should know."""
    method = METHODS.get(name)
    if method is None:
        raise SynapseError(404, "The Module API has no such method", Codes.UNRECOGNIZED)
    keywords = arguments(method.request, message)
    for (of, argument), convert in _CONVERT.items():
        if of == name and argument in keywords:
            keywords[argument] = convert(keywords[argument])
    if not keywords.get("access_token", "").isascii():
        raise SynapseError(401, "Invalid access token passed.", Codes.UNKNOWN_TOKEN)
    if name in _LOCAL and not api.is_mine(keywords[_LOCAL[name]]):
        raise SynapseError(400, f"field {_LOCAL[name]}: must be a user of this server", Codes.INVALID_PARAM)
    try:
        result = await _ADAPTERS.get(name, _by_keywords)(api, method, keywords)
    except RuleNotFoundException:
        raise SynapseError(404, "There is no such push rule", Codes.NOT_FOUND) from None
    except InvalidRuleException as e:
        raise SynapseError(400, f"The push rule cannot be so: {e}", Codes.INVALID_PARAM) from None
    except ExternalIDReuseException:
        raise SynapseError(409, "This external ID is another user's", Codes.UNKNOWN) from None
    return reply(method, result)


async def _by_keywords(api: ModuleApi, method: Method, keywords: JsonDict) -> Any:
    for owner in (api, api.public_room_list_manager, api.account_data_manager):
        function = getattr(owner, method.name, None)
        if function is not None:
            result = function(**keywords)
            return await result if inspect.isawaitable(result) else result
    raise SynapseError(404, f"This version of Synapse has no {method.name}", Codes.UNRECOGNIZED)


def _actions(texts: list[str]) -> list[Any]:
    """Words, and the texts of JSON objects."""
    try:
        return [json.loads(text) if text.lstrip().startswith(("{", '"')) else text for text in texts]
    except ValueError:
        raise bad("field actions: must be words, and the texts of JSON objects") from None


# What is no string in Synapse.
_CONVERT: dict[tuple[str, str], Callable[[Any], Any]] = {
    ("get_canonical_room_alias", "room_id"): RoomID.from_string,
    ("set_displayname", "user_id"): UserID.from_string,
    ("set_push_rule_action", "actions"): _actions,
}

# Arguments that have to name a local user, where Synapse raises what would be a fault of its own, or believes its caller.
_LOCAL = {
    "complete_sso_login_async": "registered_user_id",
    "create_login_token": "user_id",
    "create_room": "user_id",
    "get_global": "user_id",
    "put_global": "user_id",
    "record_user_external_id": "registered_user_id",
    "register_device": "user_id",
    "update_room_membership": "sender",
}


async def _properties(api: ModuleApi, method: Method, keywords: JsonDict) -> Any:
    return api  # It has them as attributes.


async def _get_user_by_req(api: ModuleApi, method: Method, keywords: JsonDict) -> Any:
    token, ip, user_agent = keywords.pop("access_token"), keywords.pop("ip", ""), keywords.pop("user_agent", "")
    request = RequestElsewhere(ip, user_agent, token)
    return await api.get_user_by_req(cast(Any, request), **keywords)


async def _complete_sso_login_async(api: ModuleApi, method: Method, keywords: JsonDict) -> Any:
    request = RequestElsewhere(keywords.pop("ip", ""), keywords.pop("user_agent", ""))
    UserID.from_string(keywords["registered_user_id"])
    await api.complete_sso_login_async(request=cast(Any, request), **keywords)
    return request.response()


async def _create_and_send_event_into_room(api: ModuleApi, method: Method, keywords: JsonDict) -> Any:
    event = keywords["event_dict"]
    for name, kind in (("type", str), ("room_id", str), ("sender", str), ("content", dict)):
        if not isinstance(event.get(name), kind):
            raise bad(f"field event_dict.{name}: must be {'a string' if kind is str else 'an object'}")
    if not api.is_mine(event["sender"]):
        raise SynapseError(400, "field event_dict.sender: must be a user of this server", Codes.INVALID_PARAM)
    return await _by_keywords(api, method, keywords)


async def _get_room_state(api: ModuleApi, method: Method, keywords: JsonDict) -> Any:
    return (await _by_keywords(api, method, keywords)).values()


async def _on_the_presence_writer(api: ModuleApi, method: Method, keywords: JsonDict) -> Any:
    hs = api._hs
    if hs.get_instance_name() not in hs.config.worker.writers.presence:
        raise _elsewhere("the process that writes presence")
    return await _by_keywords(api, method, keywords)


async def _set_push_rule_action(api: ModuleApi, method: Method, keywords: JsonDict) -> Any:
    if api.worker_app is not None:
        raise _elsewhere("the main process")
    if keywords["scope"] != "global":
        raise SynapseError(400, "field scope: must be global", Codes.INVALID_PARAM)
    return await _by_keywords(api, method, keywords)


async def _invalidate_access_token(api: ModuleApi, method: Method, keywords: JsonDict) -> Any:
    try:
        return await _by_keywords(api, method, keywords)
    except AttributeError:  # Synapse 1.163.2 takes a Requester for a dict here, before it has done anything.
        token = keywords["access_token"]
        requester = await api._auth.get_user_by_access_token(token)
        if requester.device_id:
            await api._device_handler.delete_devices(requester.user.to_string(), [requester.device_id])
        else:
            await api._auth_handler.delete_access_token(token)


async def _put_global(api: ModuleApi, method: Method, keywords: JsonDict) -> Any:
    if await api.get_userinfo_by_id(keywords["user_id"]) is None:
        raise SynapseError(404, "There is no such user", Codes.NOT_FOUND)
    return await _by_keywords(api, method, keywords)


def _elsewhere(process: str) -> SynapseError:
    return SynapseError(501, f"In Synapse, only {process} does this: busd's homeserver.url should lead there")


_ADAPTERS: dict[str, Callable[[ModuleApi, Method, JsonDict], Awaitable[Any]]] = {
    "complete_sso_login_async": _complete_sso_login_async,
    "create_and_send_event_into_room": _create_and_send_event_into_room,
    "get_room_state": _get_room_state,
    "get_user_by_req": _get_user_by_req,
    "invalidate_access_token": _invalidate_access_token,
    "properties": _properties,
    "put_global": _put_global,
    "send_local_online_presence_to": _on_the_presence_writer,
    "set_presence_for_users": _on_the_presence_writer,
    "set_push_rule_action": _set_push_rule_action,
}
