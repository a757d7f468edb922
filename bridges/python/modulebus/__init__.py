"""Modules for Matrix homeservers, in Python, out of the homeserver's process.

A module is a class whose methods are callbacks, by Synapse's names:

    import modulebus
    from modulebus.messages import Refusal, UserMayCreateRoomRequest

    class Gate:
        version = "1.0.0"

        def __init__(self, config: dict, homeserver: modulebus.Homeserver) -> None:
            self.deny = config.get("deny", [])

        @modulebus.callback
        async def user_may_create_room(self, request: UserMayCreateRoomRequest) -> Refusal | None:
            if request.user_id in self.deny:
                return Refusal("M_FORBIDDEN", "You may not create rooms")
            return None  # no opinion

    if __name__ == "__main__":
        modulebus.main(Gate)

None is no opinion, a Refusal refuses, and an exception is a failure: what that means is the operator's to say.
"""

from .answers import ConfigError, Failure, MatrixError, NoHomeserver
from .homeserver import Homeserver
from .link import news_id
from .messages import Refusal
from .module import ALL_STATE, callback
from .program import main
from .store import Conflict, Entry, KeyNotFound, NoStore, Store, StoreFull
from .worker import Options

__all__ = [
    "ALL_STATE",
    "ConfigError",
    "Conflict",
    "Entry",
    "Failure",
    "Homeserver",
    "KeyNotFound",
    "MatrixError",
    "NoHomeserver",
    "NoStore",
    "Options",
    "Refusal",
    "Store",
    "StoreFull",
    "callback",
    "main",
    "news_id",
]
