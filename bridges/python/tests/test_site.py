import asyncio
import os
import stat
import tempfile
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("synapse")

from modulebus.synapse import site  # noqa: E402


def test_socket_of_pages_fits_where_temporary_files_have_a_long_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    path = Path(site.socket_path())
    assert len(os.fsencode(path)) <= site.LONGEST
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    path.parent.rmdir()


def test_page_that_answers_connect_is_broken_off_and_blocks_nobody(tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await writer.drain()

    async def ask() -> list[Any]:
        path = str(tmp_path / "site")
        server = await asyncio.start_unix_server(serve, path)
        asked, sent = [{"type": "http.request", "body": b"", "more_body": False}], []

        async def receive() -> Any:
            return asked.pop() if asked else await asyncio.get_running_loop().create_future()

        async def send(message: Any) -> None:
            sent.append(message["type"])

        scope = {"type": "http", "method": "CONNECT", "raw_path": b"example.com:80", "query_string": b"", "headers": [(b"host", b"example.com:80")]}
        async with server:
            with pytest.raises(ConnectionError):
                await site.Proxy(path)(scope, receive, send)
        return sent

    assert asyncio.run(ask()) == ["http.response.start"]
