"""The subjects of one worker. docs/protocol.md has the grammar."""

from __future__ import annotations

import urllib.parse
from dataclasses import dataclass


def token(text: str) -> str:
    """Returns the one subject token that stands for a text."""
    return urllib.parse.quote(text, safe="").replace(".", "%2E").replace("~", "%7E") or "%"


@dataclass(frozen=True)
class Subjects:
    """Builds the subjects of a worker of a module of a homeserver."""

    server_name: str
    module: str
    worker: str

    @property
    def group(self) -> str:
        """The queue group of the module's workers."""
        return token(self.module)

    def _root(self, rest: str) -> str:
        return f"modulebus.{token(self.server_name)}.{rest}"

    def _module(self, what: str) -> str:
        return self._root(f"module.{token(self.module)}.{what}")

    def callback(self, full_name: str) -> str:
        """Where any worker of the module is asked."""
        return self._root(f"cb.{full_name}.{token(self.module)}")

    def asked_by_name(self) -> str:
        """Where this worker is asked, whatever the callback."""
        return self._root(f"cb.*.*.{token(self.module)}.{token(self.worker)}")

    def entry(self) -> str:
        return self._module("entry")

    def join(self) -> str:
        return self._module("join")

    def leave(self) -> str:
        return self._module("leave")

    def changed(self) -> str:
        return self._module("changed")

    def stored(self) -> str:
        """Where changes of the module's store are told: a prefix."""
        return self._module("stored")

    def store(self) -> str:
        """Where busd makes the module's buckets."""
        return self._module("store")

    def cancel(self) -> str:
        return self._module("cancel")

    def call(self, method: str) -> str:
        """Where the homeserver takes calls of the Module API."""
        return self._module(f"api.{method}")

    def cancel_call(self) -> str:
        return self._module("api_cancel")

    def decisions(self) -> str:
        """Where busd hands over records of decisions."""
        return self._module("decisions")

    def inbox(self) -> str:
        """The prefix of the subjects on which this worker gets replies."""
        return self._module(f"inbox.{token(self.worker)}")

    def web(self, path: str) -> str:
        """Where requests for a web resource arrive."""
        return self._root(f"web.1.{token(self.module)}.{token(path)}")

    def stream(self, channel: str, stream: str) -> str:
        """Where this worker gets frames of an HTTP stream."""
        return self._root(f"webw.1.{token(self.module)}.{token(self.worker)}.{channel}.{stream}")


def callback_of(subject: str) -> str:
    """Returns the full name of the callback that a question's subject is about."""
    parts = subject.split(".")
    return ".".join(parts[3:5])
