"""A module that stores and leads, for tests from outside: each worker tells on its page what it sees."""

import asyncio
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import modulebus

PATH = "/_synapse/client/storing"


class Storing:
    def __init__(self, config: dict[str, Any], homeserver: modulebus.Homeserver) -> None:
        self.homeserver = homeserver
        self.watched: dict[str, str | None] = {}
        self.watching = asyncio.create_task(self.watch())
        homeserver.looping_background_call(0.02, self.tick)
        routes = [Route(PATH + "/put", self.put), Route(PATH + "/see", self.see)]
        homeserver.register_web_resource(PATH, Starlette(routes=routes))

    async def watch(self) -> None:
        async for entry in self.homeserver.store.watch():
            self.watched[entry.key] = None if entry.deleted else entry.value.decode()

    async def tick(self) -> None:
        await self.homeserver.store.put("led.by", self.homeserver.worker.encode())

    async def put(self, request: Request) -> Response:
        key, value, after = (request.query_params.get(name) for name in ("key", "value", "after"))
        try:
            if after is not None:
                return JSONResponse(await self.homeserver.store.update(key or "", (value or "").encode(), int(after)))
            if value is None:
                await self.homeserver.store.delete(key or "")
                return JSONResponse(0)
            return JSONResponse(await self.homeserver.store.put(key or "", value.encode()))
        except modulebus.Conflict:
            return JSONResponse("conflict", 409)

    async def see(self, request: Request) -> Response:
        store = self.homeserver.store
        history = [None if e.deleted else e.value.decode() for e in await store.history("a.b")]
        return JSONResponse({"worker": self.homeserver.worker, "keys": await store.keys(), "history": history, "watched": self.watched})


if __name__ == "__main__":
    modulebus.main(Storing)
