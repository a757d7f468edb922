"""A message to @reader:example.com, and what Synapse and matrix-js-sdk say of it: check(what, text, of Synapse, of the client)."""

import json
import os
import subprocess

from client import call, quote, register

V3 = "/_matrix/client/v3"
READER = "@reader:example.com"
reader, writer = register("reader"), register("writer")


def done(got):
    assert got[0] == 200, got
    return got[1]


def called(token, name):
    """A user in the room goes by a name."""
    user = done(call(token, "GET", f"{V3}/account/whoami"))["user_id"]
    done(call(token, "PUT", f"{V3}/profile/{quote(user)}/displayname", {"displayname": name}))


def synapse(room):
    """What Synapse says of the room's last message to its clients."""
    unread = done(call(reader, "GET", f"{V3}/sync"))["rooms"]["join"][room]["unread_notifications"]
    return {"notifies": unread["notification_count"] > 0, "highlights": unread["highlight_count"] > 0}


def sdk(room):
    command = ["node", "sdk.js", os.environ["URL"], READER, reader, room]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def told(text):
    """A message in a new room, and what the two say of it."""
    room = done(call(writer, "POST", f"{V3}/createRoom", {"preset": "public_chat"}))["room_id"]
    done(call(reader, "POST", f"{V3}/join/{quote(room)}", {}))
    done(call(writer, "PUT", f"{V3}/rooms/{quote(room)}/send/m.room.message/1", {"msgtype": "m.text", "body": text}))
    return synapse(room), sdk(room)


NOTHING, NOTIFIES = {"notifies": False, "highlights": False}, {"notifies": True, "highlights": False}
HIGHLIGHTS = {"notifies": True, "highlights": True}


def check(what, text, *wanted):
    got = told(text)
    print(f"  {what}:\n    Synapse        {got[0]}\n    matrix-js-sdk  {got[1]}")
    assert got == wanted, (what, got)
