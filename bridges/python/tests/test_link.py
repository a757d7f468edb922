import json
import sys
from types import SimpleNamespace
from typing import Any, cast

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error

from modulebus.link import Link, Refusals, dumps
from modulebus.subjects import Subjects


class Ear:
    """A client that gives a subscription what it is told to."""

    async def subscribe(self, subject: str, queue: str, cb: Any) -> None:
        self.give = cb


async def test_what_a_stream_sends_is_not_heard() -> None:
    ear, heard = Ear(), []

    async def on(msg: Msg) -> None:
        heard.append(msg.data)

    await Link(cast(Client, ear), Subjects("example.com", "gate", "w")).hear("a", on)
    for headers, data in [({"nats-stream": "KV_other"}, b"forged"), (None, b"asked"), ({"Content-Type": "application/json"}, b"json")]:
        await ear.give(SimpleNamespace(headers=headers, data=data))
    assert heard == [b"asked", b"json"]


def test_half_a_surrogate_pair_is_written_as_an_escape() -> None:
    typed = json.loads('{"name": "\\ud800 é"}')
    assert json.loads(dumps(typed)) == typed
    assert dumps({"name": "é"}) == '{"name":"é"}'.encode()


def test_a_number_too_large_for_python_is_the_largest_there_is() -> None:
    typed = json.loads('{"n": [1e400, -1e400, 1.5]}')
    assert json.loads(dumps(typed)) == {"n": [sys.float_info.max, -sys.float_info.max, 1.5]}


def test_a_subscription_that_nats_refuses_is_known_until_the_connection_is_lost() -> None:
    refusals, subject = Refusals(), Subjects("example.com", "gate", "w").callback("spam_checker.user_may_create_room")
    refusals.hear(Error(f'nats: permissions violation for subscription to "{subject.lower()}" using queue "gate"'))
    refusals.hear(Error('nats: permissions violation for publish to "x"'))
    assert (subject in refusals.why(subject), refusals.why("x")) == (True, "")
    refusals.forget()
    assert refusals.why(subject) == ""


def test_refusals_tell_what_is_refused_again_from_what_is_allowed() -> None:
    refusals = Refusals()
    refused = [Error(f'nats: permissions violation for subscription to "{subject}"') for subject in ("a", "b")]
    assert [refusals.hear(error) for error in refused] == [False, False]
    refusals.try_again(["a", "b"])
    assert refusals.hear(refused[0])  # It was said before.
    refusals.try_again([])
    assert (refusals.why("a") != "", refusals.why("b")) == (True, "")
    assert not refusals.hear(refused[1])  # It was allowed, and is refused anew.
