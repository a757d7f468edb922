"""A module for Synapse that does what examples/python/gate.py does."""

from synapse.module_api import NOT_SPAM
from synapse.module_api.errors import Codes


class Deny:
    def __init__(self, config, api):
        self.deny = config.get("deny", [])
        api.register_spam_checker_callbacks(user_may_create_room=self.user_may_create_room)

    async def user_may_create_room(self, user_id):
        return Codes.FORBIDDEN if user_id in self.deny else NOT_SPAM
