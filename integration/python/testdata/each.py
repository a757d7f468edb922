"""A module that has each callback, and says of each what it was last told to say; and that calls each method it is told to call."""

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse

import modulebus
from modulebus import messages, table, values

PATH = "/_synapse/client/each"


class Each:
    version = "1.0.0"

    def __init__(self, config: dict[str, Any], homeserver: modulebus.Homeserver) -> None:
        self.homeserver = homeserver
        self.replies: dict[str, Any] = {}
        self.heard: dict[str, Any] = {}
        homeserver.register_web_resource(PATH, self.page)

    async def page(self, scope: Any, receive: Any, send: Any) -> None:
        """Takes replies by callback, and tells which worker this is and what it was asked, as its callbacks got it. Below its path
        are the methods of the Module API."""
        body, method = await Request(scope, receive).json(), scope["path"].removeprefix(PATH).strip("/")
        if method:
            response = JSONResponse(await self.call(table.methods()[method], body))
        else:
            self.replies |= body
            response = JSONResponse({"worker": self.homeserver.worker, "heard": self.heard})
        await response(scope, receive, send)

    async def call(self, known: table.Method, body: Any) -> Any:
        """Calls a method of the Module API as an author does, and returns what it said."""
        request = values.read(getattr(messages, table.class_name(known.name) + "Request"), known.request, body)
        said = await getattr(self.homeserver, known.name)(**vars(request))
        assert type(said) is getattr(messages, table.class_name(known.name) + "Response")
        return values.write(known.reply, said)


def callback(known: table.Callback) -> Callable[..., Awaitable[Any]]:
    request, response = (getattr(messages, table.class_name(known.name) + kind) for kind in ("Request", "Response"))

    async def answer(self: Each, asked: Any) -> Any:
        assert type(asked) is request
        self.heard[known.full_name] = values.write(known.request, asked)
        reply = values.read(response, known.reply, self.replies.get(known.full_name, {}))
        refusal = getattr(reply, "refusal", None)
        return refusal if refusal and reply == response(refusal=refusal) else reply

    answer.__name__ = known.name
    state = modulebus.ALL_STATE if known.stateful else None
    return modulebus.callback(state=state, keys={"m.login.password": ["password"]} if known.keyed else None)(answer)


for each in table.callbacks().values():
    setattr(Each, each.name, callback(each))

if __name__ == "__main__":
    modulebus.main(Each)
