"""The check that is measured, in Synapse's own process. The same check in Go is in check.go."""

from typing import Any

from synapse.module_api import NOT_SPAM, EventBase, ModuleApi
from synapse.module_api.errors import Codes
from twisted.web.resource import Resource

SPAM = "viagra"


class Check(Resource):
    """Looks into each message for a word, after a pause, and tells how often it did."""

    isLeaf = True

    def __init__(self, config: dict[str, Any], api: ModuleApi):
        super().__init__()
        self.api = api
        self.pause = config["pause"] / 1000
        self.checks = 0
        api.register_spam_checker_callbacks(check_event_for_spam=self.check)
        api.register_web_resource(config["path"], self)

    async def check(self, event: EventBase) -> Any:
        self.checks += 1
        if self.pause:
            await self.api.sleep(self.pause)
        return Codes.FORBIDDEN if SPAM in event.content.get("body", "") else NOT_SPAM

    def render_GET(self, request: Any) -> bytes:
        return b"%d" % self.checks
