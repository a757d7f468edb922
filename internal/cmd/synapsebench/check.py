"""The check that is measured, in Synapse's own process or as a module out of it. The same check in Go is in check.go."""

import json
import time
from typing import Any

from synapse.module_api import NOT_SPAM, EventBase, ModuleApi
from synapse.module_api.errors import Codes
from twisted.web.resource import Resource

SPAM = "viagra"


class Switched(Resource):
    """A page that turns something on and off."""

    isLeaf = True
    on = True

    def render_PUT(self, request: Any) -> bytes:
        self.on = json.load(request.content)
        return b"{}"


class Check(Switched):
    """Looks into each message for a word, after a time that it takes, and tells how often it did."""

    def __init__(self, config: dict[str, Any], api: ModuleApi):
        super().__init__()
        self.api = api
        self.seconds = config["pause"] / 1000
        self.way = config["way"]
        self.checks = 0
        api.register_spam_checker_callbacks(check_event_for_spam=self.check)
        api.register_web_resource(config["path"], self)

    async def check(self, event: EventBase) -> Any:
        if not self.on:
            return NOT_SPAM
        self.checks += 1
        if self.seconds:
            await self.take()
        return Codes.FORBIDDEN if SPAM in event.content.get("body", "") else NOT_SPAM

    async def take(self) -> None:
        """Takes the time: waits, as for a database that is asked with await; blocks, as for one that is not; or computes."""
        if self.way == "blocks":
            time.sleep(self.seconds)
        elif self.way == "computes":
            end = time.thread_time() + self.seconds
            while time.thread_time() < end:
                pass
        else:
            await self.api.sleep(self.seconds)

    def render_GET(self, request: Any) -> bytes:
        return b"%d" % self.checks
