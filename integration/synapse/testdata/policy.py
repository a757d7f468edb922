"""A policy server, as a web resource of a Synapse that is in the room. It answers as a file says, and writes down what it was
asked to sign."""

import json

from signedjson.key import decode_signing_key_base64
from synapse.api.room_versions import RoomVersions
from synapse.crypto.event_signing import compute_event_signature
from twisted.web.resource import Resource


def key(seed):
    return decode_signing_key_base64("ed25519", "policy_server", seed * 43)


class Policy(Resource):
    isLeaf = True

    def __init__(self, config, api):
        super().__init__()
        self.config, self.name = config, api.server_name
        api.register_web_resource("/_matrix/policy", self)

    def render(self, request):
        event = json.load(request.content)
        with open(self.config["record"], "a") as f:
            f.write(json.dumps({"path": request.path.decode(), "content": event["content"], "type": event["type"]}) + "\n")
        with open(self.config["script"]) as f:
            answer = json.load(f)
        request.setResponseCode(answer.get("status", 200))
        request.setHeader("Content-Type", "application/json")
        if "body" in answer:
            return answer["body"].encode()
        return json.dumps(compute_event_signature(RoomVersions.V12, event, self.name, key(answer.get("seed", "A")))).encode()
