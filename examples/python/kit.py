"""A module in Python with the kit (pip install ./bridges/python): it refuses some users the creation of rooms, and says hello."""

import json
from typing import Any
from urllib.parse import parse_qs

import modulebus
from modulebus.messages import Refusal, UserMayCreateRoomRequest


class Gate:
    version = "1.0.0"

    def __init__(self, config: dict[str, Any], homeserver: modulebus.Homeserver) -> None:
        self.deny = config.get("deny", [])
        if not isinstance(self.deny, list):
            raise modulebus.ConfigError("must be a list of user IDs", path="deny")
        homeserver.register_web_resource("/_synapse/client/gate/hello", hello)

    @modulebus.callback
    async def user_may_create_room(self, request: UserMayCreateRoomRequest) -> Refusal | None:
        if request.user_id in self.deny:
            return Refusal("M_FORBIDDEN", "You may not create rooms")
        return None  # no opinion


async def hello(scope: Any, receive: Any, send: Any) -> None:
    """Is an ASGI application, as Starlette's and FastAPI's are."""
    if scope["type"] != "http":
        return  # A WebSocket is refused.
    name = parse_qs(scope["query_string"].decode()).get("name", ["you"])[0]
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": json.dumps({"hello": name}).encode()})


if __name__ == "__main__":
    modulebus.main(Gate)
