"""Callbacks with signatures that authors write, inside Synapse's process: each writes down how many arguments it got."""

import functools

from synapse.module_api import NOT_SPAM


class Arity:
    def __init__(self, config, api):
        self.record = config["record"]
        for shape in config["shapes"]:
            callback = {"room": "user_may_create_room", "login": "check_login_for_spam"}[shape.split("_")[0]]
            api.register_spam_checker_callbacks(**{callback: getattr(self, shape)})

    def got(self, shape, n):
        with open(self.record, "a") as f:
            f.write(f"{shape} {n}\n")
        return NOT_SPAM

    @property
    def room_any(self):
        async def any(*args):
            return self.got("room_any", len(args))

        return any

    async def room_bound(self, user_id, room_config=None):
        return self.got("room_bound", 1 if room_config is None else 2)

    @property
    def room_partial(self):
        return functools.partial(self.room_bound)

    async def room_keywords(self, user_id, **kw):
        return self.got("room_keywords", 1)

    async def room_keyword_only(self, user_id, *, room_config=None):
        return self.got("room_keyword_only", 1)

    async def login_four(self, user_id, device_id, display_name, request_info):
        return self.got("login_four", 4)

    async def login_five(self, user_id, device_id, display_name, request_info, auth_provider_id=None):
        return self.got("login_five", 5)

    @property
    def login_any(self):
        async def any(*args):
            return self.got("login_any", len(args))

        return any
