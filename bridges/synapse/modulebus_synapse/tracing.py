"""The trace that Synapse is in, for busd to go on with."""

from __future__ import annotations

import re
from urllib.parse import unquote

from synapse.logging import opentracing

_JAEGER = re.compile(r"([0-9a-f]{1,32}):([0-9a-f]{1,16}):[0-9a-f]{1,16}:([0-9a-f]{1,2})")


def traceparent() -> bytes | None:
    """Synapse's active span as https://www.w3.org/TR/trace-context/ writes it; None where there is none.

    What a client says in such a header is not looked at: it would choose what is kept, and what that belongs to.
    """
    library = vars(opentracing).get("opentracing")  # None where it is not installed.
    if library is None or library.tracer.active_span is None:
        return None
    return _translated(opentracing.get_active_span_text_map().get("uber-trace-id", ""))


def _translated(jaeger: str) -> bytes | None:
    """The span that https://www.jaegertracing.io/docs/1.76/sdk-migration/#propagation-format names."""
    found = _JAEGER.fullmatch(unquote(jaeger))
    if found is None:
        return None
    trace, span, flags = (int(part, 16) for part in found.groups())
    return b"00-%032x-%016x-%02x" % (trace, span, flags & 1) if trace and span else None
