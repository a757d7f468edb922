"""A homeserver without a database: what modules take from Synapse beside the ModuleApi."""

from __future__ import annotations

import os
import secrets
import tempfile
from types import SimpleNamespace
from typing import Any

from synapse.app.homeserver import SynapseHomeServer
from synapse.config.homeserver import HomeServerConfig
from twisted.internet import reactor


class Host(SynapseHomeServer):
    """Has a clock, a reactor, an HTTP client and a configuration. Whatever needs the database raises."""

    def get_federation_http_client(self) -> Any:
        """Is wanted by Synapse's HTTP site, which passes requests of other servers on with it: none come here."""
        return SimpleNamespace(agent=None)


def make(server_name: str, public_baseurl: str | None) -> Host:
    """Returns a homeserver of that name. Its keys are made up, and never leave the process."""
    folder = tempfile.mkdtemp(prefix="modulebus-")
    settings: dict[str, Any] = {
        "server_name": server_name,
        "report_stats": False,
        "database": {"name": "sqlite3", "args": {"database": ":memory:"}},
        "signing_key_path": os.path.join(folder, "signing.key"),
        "media_store_path": folder,
        "trusted_key_servers": [],
        "macaroon_secret_key": secrets.token_urlsafe(),
    }
    if public_baseurl:
        settings["public_baseurl"] = public_baseurl
    config = HomeServerConfig()
    with open(settings["signing_key_path"], "w", encoding="utf-8") as key:
        key.write(_signing_key())
    config.parse_config_dict(settings, config_dir_path=folder, data_dir_path=folder)
    os.unlink(settings["signing_key_path"])
    os.rmdir(folder)
    return Host(server_name, config=config, reactor=reactor)


def _signing_key() -> str:
    from signedjson.key import encode_signing_key_base64, generate_signing_key

    key = generate_signing_key("a")
    return f"{key.alg} {key.version} {encode_signing_key_base64(key)}"
