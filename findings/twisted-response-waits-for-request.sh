#!/usr/bin/env bash
# Twisted's Agent hands over a response whose head has come only when the request is sent whole, unless the response has ended by then:
# a client that sends and receives at the same time over it waits for ever.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/python" -m pip install --quiet --disable-pip-version-check twisted==26.10.0
timeout 120 "$dir/venv/bin/python" - <<'PY'
import socket
import threading

from twisted.internet import defer, reactor
from twisted.web.client import Agent
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer
from zope.interface import implementer


@implementer(IBodyProducer)
class Body:
    """A body of two parts; the second comes when it is let."""

    length = UNKNOWN_LENGTH

    def startProducing(self, consumer):
        self.consumer, self.done = consumer, defer.Deferred()
        consumer.write(b"first")
        return self.done

    def end(self):
        self.consumer.write(b"second")
        self.done.callback(None)

    def pauseProducing(self):
        pass

    resumeProducing = stopProducing = pauseProducing


def serve(response):
    """A server that answers as soon as it has seen the first part, and the address of it; called once it has answered, answered() runs."""
    listener, answered = socket.create_server(("127.0.0.1", 0)), defer.Deferred()

    def run():
        connection, _ = listener.accept()
        seen = b""
        while b"first" not in seen:
            seen += connection.recv(4096)
        connection.sendall(response)
        reactor.callFromThread(answered.callback, None)
        while connection.recv(4096):
            pass

    threading.Thread(target=run, daemon=True).start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}/".encode(), answered


def later(seconds):
    done = defer.Deferred()
    reactor.callLater(seconds, done.callback, None)
    return done


async def handed_over(response):
    url, answered = serve(response)
    body, got = Body(), []
    request = Agent(reactor).request(b"POST", url, None, body)
    request.addCallbacks(lambda r: got.append(r.code), lambda failure: got.append(failure.getErrorMessage()))
    await answered
    for _ in range(30):  # Three seconds after the response was sent.
        await later(0.1)
        if got:
            break
    before = list(got)
    if not got:
        body.end()
        for _ in range(300):
            await later(0.1)
            if got:
                break
    return before, got


async def main():
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\nContent-Length: %d\r\n\r\ndata: hello\n\n"
    print("Twisted 26.10.0, a server that answers while half of the request is sent:")
    for what, length, want in (("whole", 13, ([200], [200])), ("that goes on", 1000, ([], [200]))):
        before, after = await handed_over(head % length)
        print(f"  a response {what}: handed over before the request is sent whole {before == [200]}, after it {after == [200]}")
        assert (before, after) == want, (before, after)


failed = []
defer.ensureDeferred(main()).addErrback(lambda failure: (failure.printTraceback(), failed.append(1))).addBoth(lambda _: reactor.stop())
reactor.run()
raise SystemExit(len(failed))
PY
