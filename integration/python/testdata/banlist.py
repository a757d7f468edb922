"""A module for Synapse that keeps a list in memory, as mjolnir's does: events add to it that the module itself is asked about."""

from synapse.module_api import NOT_SPAM
from synapse.module_api.errors import Codes


class BanList:
    def __init__(self, config, api):
        self.banned = set()
        api.register_spam_checker_callbacks(check_event_for_spam=self.check_event_for_spam)

    async def check_event_for_spam(self, event):
        if event.type == "m.policy.rule.user":
            self.banned.add(event.content["entity"])
        return Codes.FORBIDDEN if event.sender in self.banned else NOT_SPAM
