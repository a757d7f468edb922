"""A module in another language: it refuses some users the creation of rooms. docs/protocol.md explains what it says."""
import asyncio, contextlib, json, os, signal, sys, urllib.parse, uuid
import nats, nats.errors

def token(text):
    return urllib.parse.quote(text, safe="").replace(".", "%2E").replace("~", "%7E") or "%"

try:
    SERVERS, SERVER, MODULE = (os.environ[f"MODULEBUS_{name}"] for name in ("NATS_URL", "SERVER_NAME", "MODULE"))
except KeyError as missing:
    sys.exit(f"{missing} is not set; busd sets it for the modules that it runs, and for those that it verifies")
SERVER, MODULE = token(SERVER), token(MODULE)
WORKER, MOST = os.environ.get("MODULEBUS_WORKER", uuid.uuid4().hex), 256  # so many questions at once
CALLBACK, JSON = "spam_checker.user_may_create_room", {"Content-Type": "application/json"}
ASKED, ABOUT = f"modulebus.{SERVER}.cb.{CALLBACK}.{MODULE}", f"modulebus.{SERVER}.module.{MODULE}"

def wrong(config):  # what it may not say, with the path, and without its values, which may be secret
    error = {"path": "deny", "error": "must be a list of user IDs"}
    return {} if isinstance(config.get("deny", []), list) else {"config_error": error}

def failure(kind, text):  # an empty payload with these headers; without them it would be "no opinion"
    return {"Nats-Service-Error-Code": kind, "Nats-Service-Error": text}

async def decide(user, config):  # a real module awaits its database here, or the homeserver
    refusal = {"errcode": "M_FORBIDDEN", "error": config.get("text", "You may not create rooms")}
    return {"refusal": refusal} if user in config.get("deny", []) else {}

async def main():
    config, revision, subs, tasks, stop, wake = {}, "0", [], set(), asyncio.Event(), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: (stop.set(), wake.set()))
    async def changed(*_): wake.set()
    nc = await nats.connect(SERVERS.split(","), max_reconnect_attempts=-1, closed_cb=changed, inbox_prefix=f"{ABOUT}.inbox.{token(WORKER)}",
                            user_credentials=os.environ.get("MODULEBUS_CREDENTIALS"))
    async def busd(what, body):
        return json.loads((await nc.request(f"{ABOUT}.{what}", json.dumps(body).encode(), 2, headers=JSON)).data)
    async def answer(msg):
        try:
            reply, headers = json.dumps(await decide(json.loads(msg.data)["user_id"], config)).encode(), JSON
            if len(reply) > nc.max_payload - 1024:  # headers count, too
                raise nats.errors.MaxPayloadError
        except Exception as error:  # whose text may have a secret in it
            reply, headers = b"", failure("error", type(error).__name__)
        await nc.publish(msg.reply, reply, headers=headers)
    async def asked(msg):  # nats-py has the next question wait until this returns
        if "Nats-Stream" in (msg.headers or {}): return  # out of a store, by somebody who may not ask
        if len(tasks) >= MOST:
            return await nc.publish(msg.reply, headers=failure("busy", "too many questions at once"))
        tasks.add(task := asyncio.create_task(answer(msg))); task.add_done_callback(tasks.discard)
    while not (stop.is_set() or nc.is_closed):  # busd forgets who does not join again, and knows nobody when it starts
        wake.clear(); pause = 1
        try:
            entry = await busd("entry", {})
            if entry["listed"]:
                joined = {"worker": WORKER, "version": "1.2.0", "config_revision": entry["config_revision"], **wrong(entry["config"])}
                if "config_error" not in joined: config, revision = entry["config"], entry["config_revision"]
                elif not subs:  # it cannot start with that; one that runs goes on with what it had
                    await busd("join", joined); sys.exit(78)
                subs = subs or [await nc.subscribe(f"{ABOUT}.changed", cb=changed), await nc.subscribe(ASKED, MODULE, asked),
                                await nc.subscribe(f"{ASKED}.{token(WORKER)}", cb=asked)]
                await busd("join", {**joined, "config_revision": revision, "callbacks": [CALLBACK], "json": True})
                pause = entry["join_every_ms"] / 1000
        except nats.errors.Error as error:
            print("waiting for busd:", error, flush=True)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(wake.wait(), pause)
    if nc.is_closed: sys.exit("NATS closed the connection for good")  # it never opens again: let somebody start this anew
    await asyncio.gather(*(sub.drain() for sub in subs), return_exceptions=True)  # what is on its way still comes
    await asyncio.gather(busd("leave", {"worker": WORKER}), *tasks, return_exceptions=True)
    await nc.close()
asyncio.run(main())
