"""A module that does one of each thing, for tests from outside."""

import asyncio
import hashlib
import logging
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket

import modulebus
from modulebus.messages import Refusal, UserMayCreateRoomRequest, UserMayJoinRoomRequest

PATH = "/_synapse/client/everything"


class Everything:
    version = "1.0.0"

    def __init__(self, config: dict[str, Any], homeserver: modulebus.Homeserver) -> None:
        if not isinstance(config.get("deny", []), list):
            raise modulebus.ConfigError("must be a list of user IDs", "deny")
        self.deny = config.get("deny", [])
        self.homeserver = homeserver
        homeserver.register_web_resource(PATH, application)

    @modulebus.callback
    async def user_may_create_room(self, request: UserMayCreateRoomRequest) -> Any:
        if request.user_id.startswith("@slow"):
            await asyncio.sleep(0.3)
        if request.user_id.startswith("@hangs"):
            await asyncio.sleep(3600)
        if request.user_id.startswith("@large"):
            return Refusal("M_FORBIDDEN", "x" * (2 << 20))
        if request.user_id.startswith("@bug"):
            raise ValueError("secret of " + request.user_id)
        if request.user_id in self.deny:
            return Refusal("M_FORBIDDEN", "You may not create rooms", {"org.example": [1]})
        return None

    @modulebus.callback
    async def user_may_join_room(self, request: UserMayJoinRoomRequest) -> Any:
        info = await self.homeserver.get_userinfo_by_id(user_id=request.user)
        return Refusal("M_FORBIDDEN", "admins stay out") if info.userinfo and info.userinfo.is_admin else None


def said(text: str) -> None:
    logging.getLogger("everything").warning(text)


async def hello(request: Request) -> Response:
    return JSONResponse({"hello": request.query_params.get("name"), "proto": request.headers["x-forwarded-proto"]})


async def download(request: Request) -> Response:
    async def pieces() -> Any:
        try:
            for _ in range(256):
                yield bytes(131_072)
        finally:
            said("download ended")

    return StreamingResponse(pieces(), headers={"x-kind": "zeros"})


async def upload(request: Request) -> Response:
    digest, size = hashlib.sha256(), 0
    try:
        async for piece in request.stream():
            if not size:
                said("upload began")
            digest.update(piece)
            size += len(piece)
    finally:
        said("upload ended")
    return JSONResponse({"size": size, "sha256": digest.hexdigest()})


async def events(request: Request) -> Response:
    async def pieces() -> Any:
        try:
            for i in range(1_000_000):
                yield f"data: {i}\n\n"
                await asyncio.sleep(0.01)
        finally:
            said("events ended")

    return StreamingResponse(pieces(), media_type="text/event-stream")


async def trailing(scope: Any, receive: Any, send: Any) -> None:
    """Is ASGI without a framework: Starlette has no trailers."""
    assert {"http.response.trailers", "http.response.early_hint"} <= scope["extensions"].keys()
    await send({"type": "http.response.early_hint", "links": [b"</style.css>; rel=preload"]})
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")], "trailers": True})
    await send({"type": "http.response.body", "body": b"body"})
    await send({"type": "http.response.trailers", "headers": [(b"x-first", b"1")], "more_trailers": True})
    await send({"type": "http.response.trailers", "headers": [(b"x-last", b"2")]})


async def cut(request: Request) -> Response:
    async def pieces() -> Any:
        yield b"half"
        raise RuntimeError("secret")

    return StreamingResponse(pieces(), headers={"content-length": "8"})


async def broken(request: Request) -> Response:
    raise RuntimeError("secret")


async def echo(socket: WebSocket) -> None:
    await socket.accept(subprotocol="echo")
    async for text in socket.iter_text():
        await socket.send_text(text)


async def refuse(socket: WebSocket) -> None:
    await socket.close()


application = Starlette(
    routes=[
        Route(PATH + "/hello", hello),
        Route(PATH + "/download", download),
        Route(PATH + "/upload", upload, methods=["POST"]),
        Route(PATH + "/events", events),
        Mount(PATH + "/trailing", trailing),
        Route(PATH + "/cut", cut),
        Route(PATH + "/broken", broken),
        WebSocketRoute(PATH + "/echo", echo),
        WebSocketRoute(PATH + "/refuse", refuse),
    ]
)

if __name__ == "__main__":
    modulebus.main(Everything)
