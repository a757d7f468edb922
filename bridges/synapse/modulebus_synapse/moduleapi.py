"""The Module API, as a web resource for busd."""

import hmac
import inspect
import json

from synapse.http.server import DirectServeJsonResource
from synapse.http.site import SynapseRequest
from synapse.module_api import ModuleApi
from synapse.api.errors import Codes, SynapseError

from modulebus_synapse import moduleapi_methods
from modulebus_synapse.moduleapi_values import METHODS, JsonDict, bad

_PREFIX = b"/_synapse/modulebus/v1/"


class ModuleApiResource(DirectServeJsonResource):
    """POST v1/<method>, with the request message as JSON and the token; answers the reply message.

    What is no SynapseError is logged by Synapse, and tells the caller no more than that.
    """

    isLeaf = True

    def __init__(self, api: ModuleApi, token: str):
        clock = {"clock": api._clock} if "clock" in inspect.signature(DirectServeJsonResource.__init__).parameters else {}
        super().__init__(**clock)  # type: ignore[arg-type]
        self.api = api
        self.token = token.encode()

    async def _async_render_POST(self, request: SynapseRequest) -> tuple[int, JsonDict]:
        self._authenticate(request)
        prefix, name = request.path[: len(_PREFIX)], request.path[len(_PREFIX) :].decode("ascii", "replace")
        if prefix != _PREFIX or name not in METHODS:
            raise SynapseError(404, "The Module API has no such method", Codes.UNRECOGNIZED)
        request.request_metrics.name = f"ModuleBus.{name}"
        message = _message(request)
        request.is_render_cancellable = METHODS[name].reads
        return 200, await moduleapi_methods.call(self.api, name, message)

    def _authenticate(self, request: SynapseRequest) -> None:
        # No 401: modules would take that for a word about the access token of some user.
        header = (request.requestHeaders.getRawHeaders(b"Authorization") or [b""])[0]
        kind, _, token = header.partition(b" ")
        if kind != b"Bearer" or not hmac.compare_digest(token, self.token):
            raise SynapseError(403, "This needs the token that is in api_token_file", Codes.FORBIDDEN)


def _message(request: SynapseRequest) -> JsonDict:
    """The body. Synapse's own function would log one that it cannot read, and there may be secrets in it."""
    assert request.content is not None
    try:
        message = json.loads(request.content.read(), parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise SynapseError(400, "The body is not JSON", Codes.NOT_JSON) from None
    if not isinstance(message, dict):
        raise bad("The body must be a JSON object")
    return message


def _refuse(name: str) -> None:
    raise ValueError(name)
