"""The module's configuration in homeserver.yaml."""

from __future__ import annotations

import json
import re
import ssl
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attr
from synapse.module_api.errors import ConfigError

from modulebus_synapse.table import TABLE, Callback

POLICIES = ("skip", "refuse", "fail")
ORIGINS = ("local", "federated")
# The paths that modules cannot have, with all below them: those of internal/webpath, which writes the file.
RESERVED: tuple[str, ...] = tuple(json.loads(resources.files(__package__).joinpath("reserved.json").read_text(encoding="utf-8")))


@attr.s(auto_attribs=True, frozen=True, slots=True)
class Policy:
    """What it means for a callback that busd cannot be reached."""

    local: str
    federated: str


@attr.s(auto_attribs=True, frozen=True, slots=True)
class Config:
    url: str
    timeout: float = 2.5  # Seconds.
    timeouts: dict[str, float] = attr.Factory(dict)  # Seconds, by callback, where it is another.
    token: str | None = attr.ib(default=None, repr=False)
    api_token: str | None = attr.ib(default=None, repr=False)
    on_failure: dict[str, Policy] = attr.Factory(dict)
    web: tuple[str, ...] = ()
    ca_file: str | None = None  # With the authorities of busd's certificate, if they are not the system's.

    def policy(self, callback: Callback) -> Policy:
        return self.on_failure.get(callback.name, declared(callback))

    def shut(self, callback: Callback) -> Policy:
        """What holds where the sender of a request may be what keeps a question from being asked.

        The callback's default, and not what the operator opened for outages; but what he shut for outages stays so.
        """
        said, default = self.policy(callback), declared(callback)
        local = said.local if default.local == "skip" else default.local
        return Policy(local, said.federated if default.federated == "skip" else default.federated)

    def timeout_of(self, callback: Callback) -> float:
        return self.timeouts.get(callback.name, self.timeout)


def declared(callback: Callback) -> Policy:
    """What a failure means unless somebody says otherwise."""
    return Policy(callback.on_failure, callback.on_failure_federated or callback.on_failure)


KEYS = ("url", "token_file", "api_token_file", "timeout", "on_failure", "web", "ca_file")


def parse(config: dict[str, Any]) -> Config:
    for key in config:
        if key not in KEYS:
            raise ConfigError(f"unknown key {key!r}; there are: {', '.join(KEYS)}", (key,))
    return Config(
        url=_url(config.get("url")),
        **_timeouts(config.get("timeout", "2500ms")),
        token=_secret(config.get("token_file"), "token_file"),
        api_token=_secret(config.get("api_token_file"), "api_token_file"),
        on_failure=_policies(config.get("on_failure") or {}),
        web=_web(config.get("web") or []),
        ca_file=_authorities(config.get("ca_file")),
    )


def _url(value: object) -> str:
    if not isinstance(value, str):
        raise ConfigError("url is required: busd's HTTP door (try http://127.0.0.1:8010)", ("url",))
    try:
        parts = urlsplit(value)
        good = parts.scheme in ("http", "https") and parts.hostname and not (parts.query or parts.fragment)
        good = good and re.fullmatch("[!-~]+", value) and "@" not in parts.netloc
        good = good and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good:
        raise ConfigError("url must be an HTTP URL without a password (try http://127.0.0.1:8010)", ("url",))
    return value.rstrip("/")


_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdw])")


def _duration(value: object, path: tuple[str, ...]) -> float:
    """Reads durations as Go writes them, and as Synapse does: a number is milliseconds."""
    text = f"{value}ms" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    parts = _PART.findall(text)
    milliseconds = sum(float(n) * _UNITS[unit] for n, unit in parts)
    if "".join(n + unit for n, unit in parts) != text or not milliseconds > 0:
        raise ConfigError(f"{value!r} is not a duration (try 2500ms)", path)
    return milliseconds / 1000


def _timeouts(value: object) -> dict[str, Any]:
    """One time for all callbacks, or times by callback and a default."""
    if not isinstance(value, dict):
        return {"timeout": _duration(value, ("timeout",))}
    times = {str(key): _duration(v, ("timeout", str(key))) for key, v in value.items()}
    timeout = times.pop("default", 2.5)
    return {"timeout": timeout, "timeouts": {_callback(key, ("timeout", key)).name: t for key, t in times.items()}}


def _callback(key: str, path: tuple[str, ...]) -> Callback:
    callback = TABLE.callbacks.get(key.rpartition(".")[2])
    if callback is None or "." in key and key != callback.full_name:
        raise ConfigError(f"there is no callback {key!r}", path)
    return callback


def _secret(file: object, key: str) -> str | None:
    if file is None:
        return None
    if not isinstance(file, str):
        raise ConfigError("must be the path of a file", (key,))
    try:
        secret = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"cannot read {file}: {getattr(e, 'strerror', None) or 'it is not text'}", (key,)) from None
    if not secret:
        raise ConfigError(f"{file} is empty", (key,))
    if not secret.isprintable():
        raise ConfigError(f"{file} has more in it than a line of text", (key,))
    return secret


def _authorities(file: object) -> str | None:
    """Only looks at the file: it is read for each connection, since certificates that are trusted may change."""
    if file is None:
        return None
    if not isinstance(file, str):
        raise ConfigError("must be the path of a PEM file", ("ca_file",))
    try:
        ssl.create_default_context(cafile=file)
    except (OSError, ssl.SSLError) as e:
        raise ConfigError(f"cannot read certificates from {file}: {e.strerror}", ("ca_file",)) from None
    return file


def _policies(raw: object) -> dict[str, Policy]:
    if not isinstance(raw, dict):
        raise ConfigError("must say skip, refuse or fail for callbacks by name", ("on_failure",))
    policies = {}
    for key, value in raw.items():
        path = ("on_failure", str(key))
        callback = _callback(str(key), path)
        by_origin = value if isinstance(value, dict) else dict.fromkeys(ORIGINS, value)
        default = declared(callback)
        found = {origin: str(by_origin.get(origin, getattr(default, origin))) for origin in ORIGINS}
        if set(by_origin) - set(ORIGINS) or not all(p in POLICIES for p in found.values()):
            raise ConfigError("must be skip, refuse or fail; or that for local and federated", path)
        if "refuse" in found.values() and callback.reply_field("refusal") is None:
            raise ConfigError("cannot be refuse: there is nothing to refuse (try skip or fail)", path)
        policies[callback.name] = Policy(**found)
    return policies


def _web(raw: object) -> tuple[str, ...]:
    if not isinstance(raw, list):
        raise ConfigError("must be a list of paths", ("web",))
    for i, path in enumerate(raw):
        at = ("web", f"<item {i}>")
        if not isinstance(path, str) or not re.fullmatch(r"(/[^/?#\s]+)+", path):
            raise ConfigError(f"{path!r} is not a path (try /_synapse/client/demo)", at)
        if any(path == r or path.startswith(r + "/") or r.startswith(path + "/") for r in RESERVED):
            raise ConfigError(f"{path} is Synapse's or busd's own (try a path below /_synapse/client/)", at)
    return tuple(raw)
