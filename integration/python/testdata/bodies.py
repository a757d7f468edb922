"""An ASGI application that takes what is sent to it, and sends as much; and a module that serves it."""

SIZE, PIECE = 100 << 20, b"x" * (64 << 10)


async def application(scope, receive, send):
    if scope["type"] != "http":
        return
    taken, more = 0, True
    while more:
        message = await receive()
        taken, more = taken + len(message.get("body", b"")), message.get("more_body", False)
    length = SIZE if scope["method"] == "GET" else len(str(taken))
    headers = [(b"content-type", b"application/octet-stream"), (b"content-length", str(length).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if scope["method"] != "GET":
        return await send({"type": "http.response.body", "body": str(taken).encode()})
    for _ in range(SIZE // len(PIECE)):
        await send({"type": "http.response.body", "body": PIECE, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


class Bodies:
    version = "1.0.0"

    def __init__(self, config, homeserver):
        homeserver.register_web_resource("/_synapse/client/bodies", application)


if __name__ == "__main__":
    import modulebus

    modulebus.main(Bodies)
