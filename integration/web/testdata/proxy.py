"""A worker whose application passes every request on to the server that the resource is named after, as an ASGI reverse proxy."""

import asyncio
import os
import sys
import urllib.parse

import h11

from modulebus.link import Link, connect
from modulebus.subjects import Subjects, token
from modulebus.web import Web

SENT = b"sent-"  # begins the names under which fields travel that the gateway has a say in
HOPS = (b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade")


def backend(address: str):
    host, _, port = address.rpartition(":")

    async def application(scope, receive, send):
        if scope["type"] != "http":
            await send({"type": "websocket.close"})
            return
        reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=4 << 20)
        asking = asyncio.create_task(ask(connection, writer, scope, receive))
        try:
            await pass_on(connection, reader, send)
        finally:
            asking.cancel()
            writer.close()

    return application


def fields(scope):
    for name, value in scope["headers"]:
        if name.startswith(b"x-forwarded-") or name in HOPS:
            continue
        yield name.removeprefix(SENT), value


async def ask(connection, writer, scope, receive):
    headers = list(fields(scope))
    message = await receive()
    names = [name for name, _ in headers]
    if b"content-length" not in names and (message.get("body") or message.get("more_body")):
        headers.append((b"transfer-encoding", b"chunked"))
    target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
    writer.write(connection.send(h11.Request(method=scope["method"], target=target, headers=headers)))
    while message["type"] == "http.request":
        if message.get("body"):
            writer.write(connection.send(h11.Data(data=message["body"])))
            await writer.drain()
        if not message.get("more_body"):
            writer.write(connection.send(h11.EndOfMessage()))
            await writer.drain()
            message = await receive()
            break
        message = await receive()
    writer.close()  # The client is gone.


async def pass_on(connection, reader, send):
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(64 << 10))
        elif isinstance(event, h11.Response):
            headers = [(n, v) for n, v in event.headers.raw_items() if n.lower() not in HOPS]
            trailers = (b"transfer-encoding", b"chunked") in list(event.headers)
            await send({"type": "http.response.start", "status": event.status_code, "headers": headers, "trailers": trailers})
        elif isinstance(event, h11.InformationalResponse):
            if event.status_code == 103:  # ASGI has no others.
                await send({"type": "http.response.early_hint", "links": [v for n, v in event.headers if n == b"link"]})
        elif isinstance(event, h11.Data):
            await send({"type": "http.response.body", "body": bytes(event.data), "more_body": True})
        elif isinstance(event, h11.EndOfMessage):
            await send({"type": "http.response.body", "body": b""})
            if trailers:
                await send({"type": "http.response.trailers", "headers": list(event.headers.raw_items())})
            return
        elif event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):  # ASGI has no CONNECT.
            raise ConnectionError("the server closed the connection")


async def main():
    subjects = Subjects(os.environ["MODULEBUS_SERVER_NAME"], os.environ["MODULEBUS_MODULE"], "w")
    client = await connect(os.environ["MODULEBUS_NATS_URL"], subjects, None)
    web = Web(Link(client, subjects), 1024)
    await web.open()
    prefix = subjects.web("x")[: -len(token("x"))]

    async def on_request(msg):
        web.serve(msg, backend(urllib.parse.unquote(msg.subject.removeprefix(prefix))))

    await client.subscribe(prefix + "*", "", cb=on_request)
    await client.flush()
    print("serves", flush=True)
    await asyncio.get_running_loop().create_future()


sys.exit(asyncio.run(main()))
