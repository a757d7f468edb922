"""A module in another language: it refuses some users the creation of rooms. docs/protocol.md explains what it says."""
import asyncio, json, os, signal, urllib.parse, uuid
import nats, nats.errors

def token(text):
    return urllib.parse.quote(text, safe="").replace(".", "%2E").replace("~", "%7E") or "%"

SERVER, MODULE = token(os.environ["MODULEBUS_SERVER_NAME"]), token(os.environ["MODULEBUS_MODULE"])
WORKER = os.environ.get("MODULEBUS_WORKER", uuid.uuid4().hex)
CALLBACK, JSON = "spam_checker.user_may_create_room", {"Content-Type": "application/json"}
ASKED, ABOUT = f"modulebus.{SERVER}.cb.{CALLBACK}.{MODULE}", f"modulebus.{SERVER}.module.{MODULE}"

async def main():
    deny, subs, loop = set(), [], asyncio.get_running_loop()
    stop = loop.create_future()
    loop.add_signal_handler(signal.SIGTERM, stop.cancel)
    nc = await nats.connect(os.environ["MODULEBUS_NATS_URL"].split(","), max_reconnect_attempts=-1,
                            inbox_prefix=f"{ABOUT}.inbox.{token(WORKER)}")
    async def busd(what, body):
        return json.loads((await nc.request(f"{ABOUT}.{what}", json.dumps(body).encode(), 2, headers=JSON)).data)
    async def answer(msg):
        refusal = {"refusal": {"errcode": "M_FORBIDDEN", "error": "You may not create rooms"}}
        reply = refusal if json.loads(msg.data)["user_id"] in deny else {}
        await nc.publish(msg.reply, json.dumps(reply).encode(), headers=JSON)
    while not stop.done():  # busd forgets who does not join again, and knows nobody when it starts
        try:
            entry = await busd("entry", {})
            if entry["listed"]:
                deny = set(entry["config"].get("deny", []))
                subs = subs or [await nc.subscribe(ASKED, MODULE, answer),
                                await nc.subscribe(f"{ASKED}.{token(WORKER)}", cb=answer)]
                await busd("join", {"worker": WORKER, "version": "1.0.0", "callbacks": [CALLBACK], "json": True,
                                    "config_revision": entry["config_revision"]})
            await asyncio.wait([stop], timeout=entry["join_every_ms"] / 1000 or 1)
        except nats.errors.Error as error:
            print("waiting for busd:", error, flush=True)
            await asyncio.wait([stop], timeout=1)
    await asyncio.gather(*(sub.drain() for sub in subs), busd("leave", {"worker": WORKER}), return_exceptions=True)

asyncio.run(main())
