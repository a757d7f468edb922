"""Web resources of Synapse modules: Synapse's own site on a Unix socket, and an ASGI application in front of it."""

from __future__ import annotations

import asyncio
import os
import tempfile
from typing import Any

import h11
from synapse.http.site import SynapseSite
from synapse.util.httpresourcetree import create_resource_tree
from synapse.http.server import OptionsResource
from twisted.internet import reactor as twisted_reactor

from .host import Host

reactor: Any = twisted_reactor

PIECE = 64 << 10


def listen(hs: Host, resources: dict[str, Any], path: str) -> None:
    """Serves resources on a Unix socket that only this user can connect to."""
    from synapse.config.server import HttpListenerConfig, UnixListenerConfig

    config = UnixListenerConfig(path=path, mode=0o600, type="http", http_options=HttpListenerConfig(resources=[], x_forwarded=True))
    site = SynapseSite(
        logger_name="modulebus.web",
        site_tag="modulebus",
        config=config,
        resource=create_resource_tree(resources, OptionsResource()),  # type: ignore[arg-type,no-untyped-call]
        server_version_string="modulebus",
        max_request_body_size=1 << 40,
        reactor=reactor,
        hs=hs,
    )
    reactor.listenUNIX(path, site, mode=0o600)


class Proxy:
    """An ASGI application that passes requests on to a Unix socket."""

    def __init__(self, path: str) -> None:
        self.path = path

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await send({"type": "websocket.close"})
            return
        reader, writer = await asyncio.open_unix_connection(self.path)
        try:
            await _Exchange(reader, writer).run(scope, receive, send)
        finally:
            writer.close()


class _Exchange:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.http = h11.Connection(h11.CLIENT)
        self.gone = False  # the client is: the site ends the response then, and nobody takes it

    async def run(self, scope: Any, receive: Any, send: Any) -> None:
        sending = asyncio.create_task(self._ask(scope, receive))
        try:
            await self._pass_on(send)
        except h11.RemoteProtocolError as error:
            if not self.gone:
                raise ConnectionError("the module's site closed the connection") from error
        finally:
            sending.cancel()

    async def _ask(self, scope: Any, receive: Any) -> None:
        target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        headers = [(n, v) for n, v in scope["headers"] if n != b"content-length"] + [(b"connection", b"close")]
        length = dict(scope["headers"]).get(b"content-length")
        message = await receive()
        more = message.get("more_body", False)
        if length is None and not more:
            length = str(len(message.get("body", b""))).encode()
        headers.append((b"content-length", length) if length is not None else (b"transfer-encoding", b"chunked"))
        await self._write(h11.Request(method=scope["method"], target=target, headers=headers))
        while message["type"] == "http.request":
            if message.get("body"):
                await self._write(h11.Data(data=message["body"]))
            if not message.get("more_body"):
                await self._write(h11.EndOfMessage())
                message = await receive()
                break
            message = await receive()
        self.gone = True
        self.writer.close()

    async def _write(self, event: Any) -> None:
        self.writer.write(self.http.send(event) or b"")
        await self.writer.drain()

    async def _pass_on(self, send: Any) -> None:
        while True:
            event = self.http.next_event()
            if event is h11.NEED_DATA:
                self.http.receive_data(await self.reader.read(PIECE))
            elif isinstance(event, h11.Response):
                dropped = (b"connection", b"transfer-encoding", b"date", b"server")
                headers = [(n, v) for n, v in event.headers if n not in dropped]
                await send({"type": "http.response.start", "status": event.status_code, "headers": headers})
            elif isinstance(event, h11.Data):
                await send({"type": "http.response.body", "body": bytes(event.data), "more_body": True})
            elif isinstance(event, h11.EndOfMessage):
                await send({"type": "http.response.body", "body": b""})
                return
            elif event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):  # A tunnel that CONNECT asked for is none of ours.
                raise ConnectionError("the module's site closed the connection")


LONGEST = 100  # bytes of a socket's path; systems take 104 or more


def socket_path() -> str:
    """Makes a folder that only this user can enter, and returns where in it the site listens."""
    folder = tempfile.mkdtemp(prefix="modulebus-")
    if len(os.fsencode(folder)) + len("/site.sock") > LONGEST:
        os.rmdir(folder)
        folder = tempfile.mkdtemp(prefix="modulebus-", dir="/tmp")
    return os.path.join(folder, "site.sock")
