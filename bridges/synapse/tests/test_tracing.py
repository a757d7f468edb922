"""Questions to busd carry the trace that Synapse is in, as the header traceparent."""

from types import SimpleNamespace

import pytest
from synapse.logging import opentracing

from modulebus_synapse import tracing

TRACE, SPAN = "1f2e3d4c5b6a79881f2e3d4c5b6a7988", "a1b2c3d4e5f60718"


class Tracer:
    """As much of OpenTracing's as is asked, with Jaeger's way to write down a span."""

    def __init__(self, text: str | None):
        self.text = text
        self.active_span = None if text is None else SimpleNamespace(context=text)

    def inject(self, context: str, form: str, carrier: dict[str, str]) -> None:
        if context:
            carrier["uber-trace-id"] = context


@pytest.mark.parametrize(
    ("text", "want"),
    [
        (f"{TRACE}:{SPAN}:0:1", f"00-{TRACE}-{SPAN}-01"),
        (f"{TRACE}%3A{SPAN}%3A0%3A0", f"00-{TRACE}-{SPAN}-00"),
        ("ab:c:0:3", "00-" + "ab".zfill(32) + "-" + "c".zfill(16) + "-01"),  # Leading zeros are left out, and it is debugged.
        (f"0:{SPAN}:0:1", None),
        (f"{TRACE}:0:0:1", None),
        ("nonsense", None),
        ("", None),  # Synapse traces nothing, and has the library.
        (None, None),  # It is not in a span.
    ],
)
def test_span_of_synapse_is_written_as_w3c_has_it(monkeypatch: pytest.MonkeyPatch, text: str | None, want: str | None) -> None:
    library = SimpleNamespace(tracer=Tracer(text), Format=SimpleNamespace(TEXT_MAP="text_map"))
    monkeypatch.setattr(opentracing, "opentracing", library)
    got = tracing.traceparent()
    assert (None if got is None else got.decode()) == want


def test_nothing_is_said_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opentracing, "opentracing", None)
    assert tracing.traceparent() is None
