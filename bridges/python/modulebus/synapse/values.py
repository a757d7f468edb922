"""Between the JSON of messages and the Python values of Synapse, in both directions.

Which is which follows from the types that schemas/ name, and never from the name of a callback or a method.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from enum import Enum
from typing import Any

from synapse import module_api
from synapse.api.presence import UserPresenceState
from synapse.api.room_versions import KNOWN_ROOM_VERSIONS
from synapse.events import make_event_from_dict
from synapse.media._base import FileInfo, ThumbnailInfo
from synapse.module_api import ProfileInfo
from synapse.storage.databases.main import UserPaginateResponse
from synapse.types import UserID, UserInfo, create_requester

from .. import table

INTEGERS = frozenset(["int32", "int64", "uint32", "uint64"])


def event(message: Mapping[str, Any]) -> Any:
    """Makes Synapse's own event of a message: a class in Rust, which nothing else can stand in for."""
    return make_event_from_dict(dict(message["json"]), KNOWN_ROOM_VERSIONS[message["room_version"]])


class File:
    """Stands for the ReadableFileWrapper of a file that is at the homeserver."""

    def __init__(self, read: Callable[[Callable[[bytes], object]], Awaitable[None]], size: int | None) -> None:
        self._read = read
        self.size = size

    async def write_chunks_to(self, callback: Callable[[bytes], object]) -> None:
        """Reads the file piece by piece, and calls the callback with each."""
        await self._read(callback)


def _requester(m: Mapping[str, Any]) -> Any:
    return create_requester(
        m["user_id"],
        access_token_id=int(m["access_token_id"]) if m.get("access_token_id") is not None else None,
        is_guest=m.get("is_guest", False),
        scope=set(m.get("scope", ())),
        shadow_banned=m.get("shadow_banned", False),
        device_id=m.get("device_id"),
        authenticated_entity=m.get("authenticated_entity"),
    )


def _file_info(m: Mapping[str, Any]) -> FileInfo:
    thumbnail = m.get("thumbnail")
    if thumbnail is not None:
        thumbnail = ThumbnailInfo(
            thumbnail.get("width", 0), thumbnail.get("height", 0), thumbnail.get("method", ""), thumbnail.get("type", ""), int(thumbnail.get("length") or 0)
        )
    return FileInfo(m.get("server_name"), m.get("file_id", ""), m.get("url_cache", False), thumbnail)


def _user_info(m: Mapping[str, Any]) -> UserInfo:
    values = _plain("UserInfo", m)
    values["user_id"] = UserID.from_string(values["user_id"])
    return UserInfo(**values)


# Types whose Synapse value is not made of the fields by name.
_MAKERS: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "Event": event,
    "Requester": _requester,
    "FileInfo": _file_info,
    "UserInfo": _user_info,
    "ProfileInfo": lambda m: ProfileInfo(display_name=m.get("display_name"), avatar_url=m.get("avatar_url")),
    "RequestInfo": lambda m: (m.get("user_agent"), m.get("ip", "")),
    "UserPresenceState": lambda m: UserPresenceState(**_plain("UserPresenceState", m)),
    "UserIpAndAgent": lambda m: module_api.UserIpAndAgent(**_plain("UserIpAndAgent", m)),
    "ActiveUser": lambda m: (m.get("appservice_id", ""), m.get("user_id", "")),
    "ExternalId": lambda m: (m.get("auth_provider", ""), m.get("external_id", "")),
    "ListedUser": lambda m: UserPaginateResponse(**_plain("ListedUser", m)),
    "RegistrationToken": lambda m: tuple(_plain("RegistrationToken", m).values()),
    "MediaUploadLimit": lambda m: module_api.MediaUploadLimit(**_plain("MediaUploadLimit", m)),
    "LoginResponse": lambda m: dict(m),
}


def _plain(kind: str, m: Mapping[str, Any]) -> dict[str, Any]:
    """The fields by name, with what a field starts with where the message does not say."""
    return {f.name: read(f, m.get(f.name)) for f in table.types()[kind]}


def read(field: table.Field, value: Any) -> Any:
    """Returns what Synapse has for a field."""
    if field.list:
        all_of = [_one(field.type, v) for v in value or ()]
        return {(v["type"], v["state_key"]): v["event"] for v in all_of} if field.type == "StateEvent" else all_of
    if field.map:
        return {k: _one(field.type, v) for k, v in (value or {}).items()}
    if value is None:
        return None if field.optional or field.type in table.types() or field.type == "json" else _START.get(field.type)
    return _one(field.type, value)


_START = {"string": "", "bool": False, "bytes": b"", "double": 0.0, **dict.fromkeys(INTEGERS, 0)}


def _one(kind: str, value: Any) -> Any:
    if kind in INTEGERS:
        return int(value)
    if kind in _MAKERS:
        return _MAKERS[kind](value)
    if kind in table.types():
        return _plain(kind, value)
    return value


def write(field: table.Field, value: Any) -> Any:
    """Returns the JSON of what Synapse has for a field."""
    if field.list:
        return [_written(field.type, v) for v in _each(value)]
    if field.map:
        return {str(k): _written(field.type, v) for k, v in value.items()}
    return _written(field.type, value)


def _each(value: Any) -> Iterable[Any]:
    return sorted(value) if isinstance(value, set | frozenset) else value


def _written(kind: str, value: Any) -> Any:
    if kind in ("int64", "uint64"):
        return str(int(value))
    if kind == "string":
        return text(value)
    if kind == "bool":
        return bool(value)
    if kind == "json":
        return plain(value)
    if kind not in table.types():
        return value
    fields = table.types()[kind]
    if len(fields) == 1 and fields[0].list and not isinstance(value, Mapping):  # A message of one list is the list.
        return {fields[0].name: write(fields[0], value)}
    out = {}
    for i, f in enumerate(fields):
        member = _member(value, i, f.name)
        if member is not None:
            out[f.name] = write(f, member)
    return out


def _member(value: Any, i: int, name: str) -> Any:
    if isinstance(value, Mapping):
        return value.get(name)
    if isinstance(value, tuple | list):
        return value[i] if i < len(value) else None
    return getattr(value, name, None)


def text(value: Any) -> str:
    """Returns a string, an enum of strings, or one of Synapse's identifiers, as text."""
    if isinstance(value, Enum):
        return str(value.value)
    to_string = getattr(value, "to_string", None)
    return str(to_string() if to_string else value)


def plain(value: Any) -> Any:
    """Returns what JSON can be written from: Synapse's contents of events are mappings of its own."""
    if isinstance(value, Mapping):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return value
