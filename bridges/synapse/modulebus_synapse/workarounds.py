"""What Synapse's ModuleApi does not do by itself, or not have: by the method that fails, and by the property."""

from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any

from synapse.module_api import ModuleApi

Keywords = dict[str, Any]


async def _invalidate_access_token(api: ModuleApi, keywords: Keywords) -> None:
    """Synapse 1.163.2 takes a Requester for a dict here, before it has done anything."""
    token = keywords["access_token"]
    requester = await api._auth.get_user_by_access_token(token)
    if requester.device_id:
        await api._device_handler.delete_devices(requester.user.to_string(), [requester.device_id])
    else:
        await api._auth_handler.delete_access_token(token)


BY_METHOD: dict[str, Callable[[ModuleApi, Keywords], Awaitable[Any]]] = {
    "invalidate_access_token": _invalidate_access_token,
}

PROPERTIES: dict[str, Any] = {
    "version": version("matrix-synapse"),
}
