"""The same scripted module as integration/testdata/scripted, inside Synapse's process: what the bus is held against."""

import json

from synapse.api.presence import UserPresenceState
from synapse.module_api import NOT_SPAM, MediaUploadLimit, RatelimitOverride
from synapse.module_api.errors import Codes, SynapseError
from synapse.spam_checker_api import RegistrationBehaviour

CATEGORIES = {
    "spam_checker": {
        "check_event_for_spam": NOT_SPAM,
        "should_drop_federated_event": False,
        "user_may_join_room": NOT_SPAM,
        "user_may_invite": NOT_SPAM,
        "federated_user_may_invite": NOT_SPAM,
        "user_may_send_3pid_invite": NOT_SPAM,
        "user_may_create_room": NOT_SPAM,
        "user_may_create_room_alias": NOT_SPAM,
        "user_may_publish_room": NOT_SPAM,
        "user_may_send_state_event": NOT_SPAM,
        "check_username_for_spam": False,
        "check_registration_for_spam": RegistrationBehaviour.ALLOW,
        "check_media_file_for_spam": NOT_SPAM,
        "check_login_for_spam": NOT_SPAM,
    },
    "account_validity": {"is_user_expired": None, "on_user_registration": None, "on_user_login": None},
    "third_party_rules": {
        "check_event_allowed": (True, None),
        "on_create_room": None,
        "check_threepid_can_be_invited": True,
        "check_visibility_can_be_modified": True,
        "on_new_event": None,
        "check_can_shutdown_room": True,
        "check_can_deactivate_user": True,
        "on_profile_update": None,
        "on_user_deactivation_status_changed": None,
        "on_threepid_bind": None,
        "on_add_user_third_party_identifier": None,
        "on_remove_user_third_party_identifier": None,
    },
    "presence_router": {"get_users_for_states": {}, "get_interested_users": set()},
    "password_auth_provider": {
        "check_3pid_auth": None,
        "on_logged_out": None,
        "get_username_for_registration": None,
        "get_displayname_for_registration": None,
        "is_3pid_allowed": True,
    },
    "background_update_controller": {"default_batch_size": 100, "min_batch_size": 1},
    "account_data": {"on_account_data_updated": None},
    "add_extra_fields_to_unsigned_client_event": {"add_field_to_unsigned_callback": {}},
    "media_repository": {
        "get_media_config_for_user": None,
        "is_user_allowed_to_upload_media_of_size": True,
        "get_media_upload_limits_for_user": None,
        "on_media_upload_limit_exceeded": None,
    },
    "ratelimit": {"get_ratelimit_override_for_user": None},
    "federation": {"on_event_delivered_over_federation": None},
}


class Scripted:
    def __init__(self, config, api):
        self.config, self.api = config, api
        for category, callbacks in CATEGORIES.items():
            functions = {name: self.function(name, default) for name, default in callbacks.items()}
            if category == "background_update_controller":
                functions["on_update"] = lambda *args: Update(self, args)
            if category == "password_auth_provider":
                functions["auth_checkers"] = {
                    (t, tuple(fields)): self.function("auth_checkers", None)
                    for t, fields in config.get("login_types", {}).items()
                }
            getattr(api, f"register_{category}_callbacks")(**functions)

    def function(self, name, default):
        if name in ("user_may_create_room", "check_username_for_spam"):  # Synapse counts their parameters.

            async def two(a, b):
                return await self.answer(name, default, (a, b))

            return two

        async def call(*args):
            return await self.answer(name, default, args)

        return call

    async def answer(self, name, default, args):
        text = written(args)
        with open(self.config["script"]) as f:
            entry = json.load(f).get(name) or {}
        with open(self.config["record"], "a") as f:
            f.write(json.dumps({"callback": name, "request": text}) + "\n")
        if entry.get("when") and entry["when"] not in text:
            return default
        if entry.get("sleep"):
            await self.api.sleep(entry["sleep"] / 1000)
        if entry.get("error"):
            raise RuntimeError(entry["error"])
        if "python" not in entry:
            return default
        return self.value(entry["python"], args)

    def value(self, v, args):
        if isinstance(v, list):
            return [self.value(x, args) for x in v]
        if not isinstance(v, dict):
            return v
        kind = v.get("$")
        if kind is None:
            return {k: self.value(x, args) for k, x in v.items()}
        if kind == "NOT_SPAM":
            return NOT_SPAM
        if kind == "Codes":
            return Codes(v["value"])
        if kind == "RegistrationBehaviour":
            return RegistrationBehaviour(v["value"])
        if kind == "tuple":
            return tuple(self.value(x, args) for x in v["items"])
        if kind == "set":
            return {self.value(x, args) for x in v["items"]}
        if kind == "raise":
            raise SynapseError(v["code"], v["error"], v["errcode"], v.get("fields"))
        if kind == "replace":  # Of on_create_room: the content that it is given.
            args[1].clear()
            args[1].update(v["value"])
            return None
        if kind == "event":  # Of check_event_allowed: the event with other content.
            return True, {**args[0].get_dict(), "content": v["content"]}
        if kind == "states":  # Of get_users_for_states: all that it is asked about.
            return {user: set(args[0]) for user in v["users"]}
        if kind == "callable":
            name = "on_auth_checkers_login"

            async def finished(response):
                await self.answer(name, None, (dict(response),))

            return v["user_id"], finished
        classes = {c.__name__: c for c in (UserPresenceState, RatelimitOverride, MediaUploadLimit)}
        return classes[kind](**v["value"])


class Update:
    def __init__(self, module, args):
        self.module, self.args = module, args

    async def __aenter__(self):
        return await self.module.answer("on_update", 100, self.args)

    async def __aexit__(self, *exc):
        await self.module.answer("on_update_end", None, self.args[:2])


def written(value):
    """A text that has in it what is in the arguments."""
    if hasattr(value, "get_pdu_json"):
        value = {"event_id": value.event_id, "json": value.get_pdu_json()}
    if isinstance(value, dict) or hasattr(value, "items"):
        return "{" + ",".join(f'"{k}":{written(v)}' for k, v in value.items() if not isinstance(k, tuple)) + "}"
    if isinstance(value, (list, tuple, set)) and not hasattr(value, "_asdict"):
        return "[" + ",".join(written(v) for v in value) + "]"
    if hasattr(value, "events"):
        return written([value.server_name, str(value.method), list(value.events)])
    if isinstance(value, (str, int, bool)) or value is None:
        return json.dumps(value)
    return json.dumps(str(value))
