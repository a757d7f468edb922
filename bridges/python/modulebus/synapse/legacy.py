"""Classes of the interfaces that Synapse had before it had modules, constructed and registered by Synapse's own loaders."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from synapse.events.presence_router import load_legacy_presence_router
from synapse.handlers.auth import load_single_legacy_password_auth_provider
from synapse.module_api.callbacks.spamchecker_callbacks import load_legacy_spam_checkers
from synapse.module_api.callbacks.third_party_event_rules_callbacks import load_legacy_third_party_event_rules

from .. import table

Make = Callable[[type, Any, Any], None]
"""Constructs a class with its parsed configuration and a ModuleApi, and registers its methods."""


def _password_provider(kind: type, config: Any, api: Any) -> None:
    load_single_legacy_password_auth_provider(kind, config, api)


def _of_server(load: Callable[[Any], None], configured: Callable[[type, Any], dict[str, Any]]) -> Make:
    """Returns what calls a loader that wants a homeserver of which it looks at nothing but a section of the configuration."""

    def make(kind: type, config: Any, api: Any) -> None:
        sections = {name: SimpleNamespace(**values) for name, values in configured(kind, config).items()}
        load(SimpleNamespace(config=SimpleNamespace(**sections), get_module_api=lambda: api))

    return make


MAKERS: dict[str, Make] = {
    "password_providers": _password_provider,
    "spam_checker": _of_server(load_legacy_spam_checkers, lambda kind, config: {"spamchecker": {"spam_checkers": [(kind, config)]}}),
    "third_party_event_rules": _of_server(
        load_legacy_third_party_event_rules, lambda kind, config: {"thirdpartyrules": {"third_party_event_rules": (kind, config)}}
    ),
    "presence_router": _of_server(
        load_legacy_presence_router,
        lambda kind, config: {"server": {"presence_router_module_class": kind, "presence_router_config": config}},
    ),
}
"""By the section of homeserver.yaml that such a class is in."""

_CATEGORIES = {
    "spam_checker": "spam_checker",
    "third_party_rules": "third_party_event_rules",
    "presence_router": "presence_router",
    "password_auth_provider": "password_providers",
}


def section_of(kind: type) -> str:
    """Returns the section that a class looks made for, by its methods; empty for none."""
    if any(callable(getattr(kind, name, None)) for name in ("check_password", "check_auth")):  # These are no callbacks of modules.
        return "password_providers"
    categories = {c.category for c in table.callbacks().values() if callable(getattr(kind, c.name, None))}
    return next((section for category, section in _CATEGORIES.items() if category in categories), "")
