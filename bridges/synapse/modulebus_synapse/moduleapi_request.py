"""Requests that did not come to Synapse, but to a module."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.web.http_headers import Headers


class RequestElsewhere:
    """As much of a request as Synapse looks at to see whose it is and where from, and its response."""

    _disconnected = False

    def __init__(self, ip: str = "", user_agent: str = "", access_token: str = ""):
        self.ip = ip
        self.args: dict[bytes, list[bytes]] = {}
        self.requestHeaders = Headers()
        if user_agent:
            self.requestHeaders.setRawHeaders(b"User-Agent", [user_agent.encode()])
        if access_token:
            self.requestHeaders.setRawHeaders(b"Authorization", [b"Bearer " + access_token.encode()])
        self.requester: Any = None
        self.code = 200
        self.responseHeaders = Headers()
        self.cookies: list[bytes] = []
        self.body = b""

    def getHeader(self, name: bytes) -> bytes | None:
        values = self.requestHeaders.getRawHeaders(name)
        return values[-1] if values else None

    def getClientAddress(self) -> IPv4Address | IPv6Address:
        kind = IPv6Address if ":" in self.ip else IPv4Address
        return kind("TCP", self.ip or "0.0.0.0", 0)

    def get_client_ip_if_available(self) -> str:
        return self.ip

    def setResponseCode(self, code: int, message: bytes | None = None) -> None:
        self.code = code

    def setHeader(self, name: bytes, value: bytes) -> None:
        self.responseHeaders.setRawHeaders(name, [value])

    def redirect(self, url: bytes | str) -> None:
        self.setResponseCode(302)
        self.setHeader(b"location", url if isinstance(url, bytes) else url.encode())

    def write(self, data: bytes) -> None:
        self.body += data

    def finish(self) -> None:
        pass

    def response(self) -> tuple[int, list[tuple[str, str]], bytes]:
        """Status, headers and body."""
        headers = [(name, v) for name, values in self.responseHeaders.getAllRawHeaders() for v in values]
        headers += [(b"Set-Cookie", cookie) for cookie in self.cookies]
        return self.code, [(n.decode("latin-1"), v.decode("latin-1")) for n, v in headers], self.body
