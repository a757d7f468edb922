import random

import pytest

from modulebus import frames

RESPONSE = bytes.fromhex(
    "1201"
    "11c80112"
    "010c436f6e74656e742d54797065106170706c69636174696f6e2f6a736f6e"
    "00"
    "7b2268656c6c6f223a22616c696365227d"
)


def test_request_of_the_protocol_page_is_read() -> None:
    data = bytes.fromhex(
        "1101"
        "000080881001"
        "0f3132372e302e302e313a3530313234"
        "046874747003474554"
        "0b6578616d706c652e636f6d"
        "202f5f73796e617073652f636c69656e742f676174653f6e616d653d616c696365"
        "0106416363657074032a2f2a"
        "00"
    )
    r = frames.decode(data)
    assert isinstance(r, frames.Request)
    assert (r.whole, r.length, r.window, r.deadline_ms) == (True, 0, 263_168, 0)
    assert (r.remote, r.scheme, r.method, r.authority) == ("127.0.0.1:50124", "http", "GET", "example.com")
    assert r.target == "/_synapse/client/gate?name=alice"
    assert r.fields == [(b"Accept", b"*/*")]


def test_response_of_the_protocol_page_is_written() -> None:
    body = b'{"hello":"alice"}'
    assert frames.response(200, len(body), [(b"content-type", b"application/json")], body) == RESPONSE


def test_data_and_end_are_read_as_they_are_written() -> None:
    assert frames.decode(frames.data_head(True, 300) + b"x") == frames.Data(True, 300, b"x")
    assert frames.decode(frames.end(5, [(b"a-b", b"c")])) == frames.End(5, [(b"A-B", b"c")])
    assert frames.decode(frames.credit(1 << 40)) == frames.Credit(1 << 40)
    reset = frames.Reset(frames.REFUSED, 503, "busy", retryable=True)
    assert frames.decode(frames.reset(reset)) == reset


def test_what_is_no_frame_is_malformed_and_nothing_worse() -> None:
    seed = random.Random(1)
    for _ in range(20_000):
        data = bytes(seed.choice([0x11, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1A, seed.randrange(256)]) for _ in range(1))
        data += bytes(seed.randrange(256) if seed.random() < 0.5 else seed.randrange(4) for _ in range(seed.randrange(40)))
        try:
            frames.decode(data)
        except frames.MalformedFrame:
            pass


@pytest.mark.parametrize("cut", range(0, 60))
def test_request_that_is_cut_is_malformed(cut: int) -> None:
    data = bytes.fromhex("1101000080881001" "0f3132372e302e302e313a3530313234" "046874747003474554" "0b6578616d706c652e636f6d" "012f" "0106416363657074032a2f2a" "00")
    if cut < len(data):
        with pytest.raises(frames.MalformedFrame):
            frames.decode(data[:cut])
