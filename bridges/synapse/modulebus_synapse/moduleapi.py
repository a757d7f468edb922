"""The Module API, as a web resource for busd."""

import hmac
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from synapse.http.server import DirectServeJsonResource
from synapse.http.servlet import parse_json_object_from_request
from synapse.http.site import SynapseRequest
from synapse.module_api import ModuleApi
from synapse.module_api.errors import Codes, SynapseError

from modulebus_synapse import encode

logger = logging.getLogger(__name__)

JsonDict = dict[str, Any]
Method = Callable[[ModuleApi, JsonDict], Awaitable[JsonDict]]

_PREFIX = b"/_synapse/modulebus/v1/"


class ModuleApiResource(DirectServeJsonResource):
    """POST v1/<method>, with the request message as JSON and the token; answers the reply message."""

    isLeaf = True

    def __init__(self, api: ModuleApi, token: str):
        super().__init__(clock=api._clock)
        self.api = api
        self.token = token.encode()

    async def _async_render_POST(self, request: SynapseRequest) -> tuple[int, JsonDict]:
        self._authenticate(request)
        name = request.path[len(_PREFIX) :].decode("ascii", "replace") if request.path.startswith(_PREFIX) else ""
        method = METHODS.get(name)
        if method is None:
            raise SynapseError(404, f"There is no method {name!r}", Codes.UNRECOGNIZED)
        body = parse_json_object_from_request(request)
        try:
            return 200, await method(self.api, body)
        except (KeyError, TypeError) as e:
            logger.info("bad call of %s: %s", name, e)
            raise SynapseError(400, f"Bad arguments: {e}", Codes.BAD_JSON) from None

    def _authenticate(self, request: SynapseRequest) -> None:
        header = (request.requestHeaders.getRawHeaders(b"Authorization") or [b""])[0]
        kind, _, token = header.partition(b" ")
        if kind != b"Bearer" or not token:
            raise SynapseError(401, "Send the token of api_token_file", Codes.MISSING_TOKEN)
        if not hmac.compare_digest(token, self.token):
            raise SynapseError(401, "This is not the token of api_token_file", Codes.UNKNOWN_TOKEN)


METHODS: dict[str, Method] = {}
