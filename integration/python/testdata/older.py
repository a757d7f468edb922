"""Classes of the interfaces that Synapse had before modules, as their authors wrote them."""

from synapse.spam_checker_api import RegistrationBehaviour


class Spam:
    def __init__(self, config, api=None):
        self.denied = config["deny"]

    def user_may_create_room(self, user_id):  # Not async, and with a boolean.
        return user_id not in self.denied

    def check_registration_for_spam(self, email_threepid, username, request_info):
        return RegistrationBehaviour.DENY if username in self.denied else RegistrationBehaviour.ALLOW


class Rules:
    def __init__(self, config, module_api):
        self.denied = config["deny"]

    async def check_event_allowed(self, event, state_events):
        if ("m.room.create", "") in state_events:
            raise RuntimeError("was given state that it has not asked for")
        return event.sender not in self.denied


class Passwords:
    def __init__(self, config, account_handler):
        self.api = account_handler
        self.users = config["users"]

    async def check_password(self, user_id, password):
        return self.users.get(user_id) == password
