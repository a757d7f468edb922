#!/usr/bin/env bash
# matrix-nio sends a request again that was answered 403, if the errcode is M_LIMIT_EXCEEDED, and does not stop.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/python" -m pip install --quiet --disable-pip-version-check matrix-nio==0.26.0
"$dir/venv/bin/python" - <<'PY'
import asyncio
import importlib.metadata

from aiohttp import web
from nio import AsyncClient

ENOUGH = 20


async def homeserver(errcode):
    """Refuses with the code, and lets the client through when it has asked often enough."""
    requests = []

    async def send(request):
        requests.append(request.path)
        if len(requests) > ENOUGH:
            return web.json_response({"event_id": "$x"})
        return web.json_response({"errcode": errcode, "error": "no", "retry_after_ms": 1}, status=403)

    app = web.Application()
    app.router.add_put("/_matrix/client/v3/rooms/{room}/send/{type}/{txn}", send)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    return requests, runner, f"http://127.0.0.1:{runner.addresses[0][1]}"


async def main():
    print("matrix-nio", importlib.metadata.version("matrix-nio"))
    for errcode, want in (("M_FORBIDDEN", 1), ("M_LIMIT_EXCEEDED", ENOUGH + 1)):
        requests, runner, url = await homeserver(errcode)
        client = AsyncClient(url, "@alice:example.com")
        client.access_token = "token"
        response = await client.room_send("!r:example.com", "m.room.message", {"msgtype": "m.text", "body": "hello"}, tx_id="t")
        await client.close()
        await runner.cleanup()
        print(f"  403 {errcode}: {len(requests)} requests, and then {type(response).__name__}")
        assert len(requests) == want, len(requests)


asyncio.run(main())
PY
