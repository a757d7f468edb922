import pytest
from modulebus_synapse.answer import BODY_LIMIT, HEAD_LIMIT, Answer

CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
CHUNKED = CHUNKS + b'\r\n3\r\n{"a\r\nA;x=y\r\n":"\r\n0\r\n"}\r\n0\r\nTrailer: x\r\n\r\n'

WHOLE = [
    (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", 200, b"{}", True),
    (b"HTTP/1.1 502 Bad Gateway\r\ncontent-LENGTH:2 \r\nDate: x: y\r\nEmpty:\r\n\r\n{}", 502, b"{}", True),
    (b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", 200, b"", True),
    (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", True),
    (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nL: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", 200, b"x", True),
    (CHUNKED, 200, b'{"a":"\r\n0\r\n"}', True),
    (CHUNKS + b"Content-Length: 1\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 200, b"{}", True),
    (b"HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 2\r\n\r\n{}", 200, b"{}", False),
    (b"HTTP/1.1 200 OK\r\nConnection: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}", 200, b"{}", False),
    (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}", 200, b"{}", False),
]  # fmt: skip


def pieces(raw: bytes) -> list[list[bytes]]:
    """The ways to cut it in two, and it byte by byte."""
    return [[raw[:i], raw[i:]] for i in range(1, len(raw))] + [[raw[i : i + 1] for i in range(len(raw))]]


@pytest.mark.parametrize(("raw", "status", "body", "reusable"), WHOLE)
def test_in_whatever_pieces(raw: bytes, status: int, body: bytes, reusable: bool) -> None:
    for cut in [[raw], *pieces(raw)]:
        answer = Answer()
        for piece in cut[:-1]:
            answer.feed(piece)
            assert not answer.whole
        answer.feed(cut[-1])
        assert (answer.whole, answer.status, answer.body, answer.reusable) == (True, status, body, reusable)


@pytest.mark.parametrize("raw", [raw for raw, *_ in WHOLE])
def test_what_breaks_off_is_not_whole(raw: bytes) -> None:
    for i in range(len(raw)):
        answer = Answer()
        answer.feed(raw[:i])
        answer.end()
        assert not answer.whole


def test_a_body_that_ends_with_the_connection() -> None:
    answer = Answer()
    answer.feed(b"HTTP/1.1 200 OK\r\n\r\n{")
    answer.feed(b"}")
    assert not answer.whole
    answer.end()
    assert (answer.whole, answer.body, answer.reusable) == (True, b"{}", False)


@pytest.mark.parametrize("raw", [raw for raw, *_ in WHOLE])
def test_a_connection_with_more_in_it_is_not_reused(raw: bytes) -> None:
    answer = Answer()
    answer.feed(raw + b"x")
    assert answer.whole and not answer.reusable


@pytest.mark.parametrize(
    "raw",
    [
        b"\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 20\r\n\r\n",
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        b"HTTP/1.1 099 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\n continued: c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 30 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (BODY_LIMIT + 1),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        CHUNKS + b"\r\nzz\r\n",
        CHUNKS + b"\r\n-1\r\n",
        CHUNKS + b"\r\n2\r\n{}}\r\n",
        b"x" * (HEAD_LIMIT + 1),
        b"HTTP/1.1 200 OK\r\nA: " + b"b" * HEAD_LIMIT + b"\r\n\r\n",
    ],
)
def test_what_is_no_answer(raw: bytes) -> None:
    with pytest.raises(ValueError):
        Answer().feed(raw)
    answer = Answer()
    with pytest.raises(ValueError):
        for i in range(0, len(raw), max(1, len(raw) // 100)):
            answer.feed(raw[i : i + max(1, len(raw) // 100)])


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n\r\n", CHUNKS + b"\r\nffff\r\n"])
def test_what_is_too_large(head: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modulebus_synapse.answer.BODY_LIMIT", 1000)
    answer = Answer()
    answer.feed(head)
    for _ in range(10):
        answer.feed(bytes(100))
    with pytest.raises(ValueError, match="too large"):
        answer.feed(b"x")
