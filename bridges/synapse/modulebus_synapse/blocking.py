"""One request to busd that blocks, for the start of Synapse."""

from __future__ import annotations

import socket
import ssl
import time
from urllib.parse import urlsplit

from modulebus_synapse.answer import Answer

_PIECE = 1 << 16  # Bytes.


def fetch(url: str, request: bytes, timeout: float, ca_file: str | None = None) -> Answer:
    """The answer to a request to the server of the URL. Raises OSError or ValueError where there is none in time."""
    parts = urlsplit(url)
    host, end = parts.hostname or "", time.monotonic() + timeout
    port = parts.port or (443 if parts.scheme == "https" else 80)
    with socket.create_connection((host, port), timeout) as plain:
        connection = plain
        if parts.scheme == "https":
            connection = ssl.create_default_context(cafile=ca_file).wrap_socket(plain, server_hostname=host)
        connection.sendall(request)
        answer = Answer()
        while not answer.whole:
            connection.settimeout(max(0.001, end - time.monotonic()))
            piece = connection.recv(_PIECE)
            if piece:
                answer.feed(piece)
                continue
            answer.end()
            if not answer.whole:
                raise ConnectionError("the connection was gone before there was a whole answer")
        return answer
