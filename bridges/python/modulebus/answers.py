"""What a callback may say, beside the answers of its own: a refusal, and a failure."""

from __future__ import annotations

from typing import Any


class ConfigError(Exception):
    """A configuration that the module does not take.

    `path` is where in the configuration, such as `deny[0]`. The text reaches the operator, so it must not repeat what the
    configuration says there: it may be a secret.
    """

    def __init__(self, error: str, path: str = "") -> None:
        super().__init__(f"{path}: {error}" if path else error)
        self.path = path
        self.error = error


class Failure(Exception):
    """Raised by a callback that finds no answer. It refuses nothing: what it means is the operator's to say.

    The text is for the operator. It must hold no secrets, and nothing of what was asked.
    """

    kind = "error"


class MatrixError(Exception):
    """An error that the homeserver answered a call of the Module API with."""

    def __init__(self, status: int, errcode: str, error: str, fields: dict[str, Any] | None = None) -> None:
        super().__init__(f"{status} {errcode}: {error}")
        self.status = status
        self.errcode = errcode
        self.error = error
        self.fields = fields or {}


class NoHomeserver(Exception):
    """No homeserver on this bus can be called."""
