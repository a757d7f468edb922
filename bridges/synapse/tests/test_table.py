"""The generated table has every callback that this Synapse lets modules register, and the conversions fit."""

import inspect

import pytest
from modulebus_synapse import decode
from modulebus_synapse.table import TABLE
from synapse.module_api import ModuleApi

UNDOCUMENTED = {"on_legacy_send_mail", "on_legacy_renew", "on_legacy_admin_request"}

OF_FORKS = {"accept_make_join"}  # Other homeservers ask it; what this one cannot register, the bridge leaves out, and says so.


def registrable() -> set[tuple[str, str]]:
    found = set()
    for name, method in inspect.getmembers(ModuleApi, inspect.isfunction):
        if name.startswith("register_") and name.endswith("_callbacks"):
            category = name.removeprefix("register_").removesuffix("_callbacks")
            found |= {(category, p) for p in inspect.signature(method).parameters if p != "self"}
    return {(category, name) for category, name in found if name not in UNDOCUMENTED}


def test_every_callback_of_synapse_is_there() -> None:
    assert {(c.category, c.name) for c in TABLE.callbacks.values() if c.name not in OF_FORKS} == registrable()
    assert len(TABLE.callbacks) == 49


@pytest.mark.parametrize("name", sorted(set(TABLE.callbacks) - set(TABLE.follow_ups)))
def test_no_opinion_has_a_value(name: str) -> None:
    event = type("Event", (), {"event_id": "$e"})()
    callback = TABLE.callbacks[name]
    args = (event,) * len(callback.request)
    decoder = decode.decoder(callback)
    silent = decoder(None, args)
    assert decoder({}, args) == silent
    if callback.reply_field("refusal"):
        refused = {"refusal": {"errcode": "", "error": "", "additional_fields": {}}}
        try:
            assert decoder(refused, args) != silent
        except decode.SynapseError as e:
            assert (e.code, e.errcode) == (403, "M_FORBIDDEN")


def test_arguments_are_in_the_order_of_synapse() -> None:
    names = {name: [f.name for f in c.request] for name, c in TABLE.callbacks.items()}
    assert names["check_media_file_for_spam"] == ["file_wrapper", "file_info"]
    assert names["user_may_create_room"] == ["user_id", "room_config"]
    assert names["check_event_allowed"] == ["event", "state_events"]
