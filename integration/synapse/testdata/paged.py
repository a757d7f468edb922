"""A Synapse module with a page that calls the homeserver, a timer, and a room that is kept clean of its answers."""

from synapse.http.servlet import parse_string
from synapse.http.server import DirectServeJsonResource
from synapse.module_api import NOT_SPAM, ModuleApi
from synapse.module_api.errors import Codes, SynapseError


class Paged:
    def __init__(self, config, api: ModuleApi):
        self.api, self.ticks = api, 0
        api.register_web_resource("/_synapse/client/paged", Page(self))
        api.register_spam_checker_callbacks(user_may_create_room=self.user_may_create_room)
        api.looping_background_call(self.tick, 50)

    async def tick(self):
        self.ticks += 1

    async def user_may_create_room(self, user_id):  # One argument, as before Synapse 1.132.
        user = await self.api.get_userinfo_by_id(user_id)
        return NOT_SPAM if user.is_admin else Codes.FORBIDDEN


class Page(DirectServeJsonResource):
    def __init__(self, module):
        super().__init__()
        self.module = module

    async def _async_render_GET(self, request):
        name = parse_string(request, "user", required=True)
        user = await self.module.api.get_userinfo_by_id(self.module.api.get_qualified_user_id(name))
        if user is None:
            raise SynapseError(404, "no such user", Codes.NOT_FOUND)
        requester = None
        if request.getHeader("Authorization"):
            requester = (await self.module.api.get_user_by_req(request)).user.to_string()
        exists = await self.module.api.check_user_exists(user.user_id.to_string())
        return 200, {"user": user.user_id.to_string(), "admin": user.is_admin, "exists": exists, "asked_by": requester,
                     "ticks": self.module.ticks > 0}
