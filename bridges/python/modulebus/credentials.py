"""What is wrong with a NATS credentials file, before NATS says no more than that it does not take it."""

from __future__ import annotations

import base64
import json
import os
import re
import time
from datetime import datetime, timezone
from typing import Any

TOKEN = re.compile(r"-+BEGIN NATS USER JWT-+\s+(\S+)\s+-+END NATS USER JWT-+")
SEED = re.compile(r"-+BEGIN USER NKEY SEED-+\s+(\S+)\s+-+END USER NKEY SEED-+")

PREFIX = "module "  # of the names of modules' users

LAST_TIME = 253402300799  # the end of the year 9999, in seconds since 1970


class CredentialsError(Exception):
    """Says what is wrong, and what to do. It holds nothing secret."""


def check(path: str, module: str, now: float | None = None) -> None:
    """Raises CredentialsError if the file cannot be used at that time, which is the present one unless it is given. Whether it was
    made for this NATS, only NATS knows."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read()
    except OSError as error:
        raise CredentialsError(f"--credentials: cannot read {path}: {(error.strerror or str(error)).lower()}") from error
    token = TOKEN.search(text)
    remedy = f'take what "busd credentials {module}" prints'
    if token is None or SEED.search(text) is None:
        raise CredentialsError(f"--credentials: {path} is no NATS credentials file, or not the whole of it: {remedy}")
    claims = _claims(token[1])
    if claims is None:
        raise CredentialsError(f"--credentials: {path} holds no NATS user: {remedy}")
    seconds = time.time() if now is None else now
    begins, ends = claims["nbf"], claims["exp"]
    if 0 < ends <= seconds:
        raise CredentialsError(f"--credentials: {path} has expired at {_at(ends)}, and it is {_at(seconds)}: {remedy} now, or set the clock")
    if begins > seconds:
        raise CredentialsError(f"--credentials: {path} counts from {_at(begins)} on, and it is {_at(seconds)}: set the clock, or wait")


def module_of(path: str) -> str | None:
    """Returns the module that a busd made the credentials for. None: they are not a module's, or the file is none."""
    with open(path, encoding="utf-8", errors="replace") as file:
        token = TOKEN.search(file.read())
    try:
        claims = _body(token[1]) if token else {}
        name = str(claims["name"])
        by_busd = bool(claims["nats"]["pub"]["allow"])  # Any operator of a NATS may name a user so: a busd also says where it may publish.
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return name[len(PREFIX) :] if by_busd and name.startswith(PREFIX) else None


def exposed(path: str) -> bool:
    """Reports whether others than its owner can read the file."""
    return os.stat(path).st_mode & 0o077 != 0


def turned_away(error: Exception) -> bool:
    """Reports whether NATS does not take the credentials, or takes them no more."""
    return any(words in str(error).lower() for words in ("authorization violation", "authorization failed", "authentication expired", "authentication revoked"))


def explain(path: str | None, module: str) -> str:
    """Says what to do when NATS turns the module away."""
    if path is None:
        return f'NATS wants credentials: name a file with what "busd credentials {module}" prints in --credentials'
    try:
        check(path, module)
    except CredentialsError as error:
        return str(error)
    return (
        f"NATS does not take {path}: is module {module} listed in busd.yaml, is this the busd, "
        f'and is the file what "busd credentials {module}" prints now?'
    )


def _claims(token: str) -> dict[str, int] | None:
    """Returns when a token begins and ends to count, 0 for no such time; None for what is no token."""
    try:
        claims = _body(token)
        times = {name: claims.get(name) or 0 for name in ("nbf", "exp")}
    except (ValueError, IndexError, AttributeError, RecursionError):
        return None
    return times if all(type(t) is int and 0 <= t <= LAST_TIME for t in times.values()) else None


def _body(token: str) -> Any:
    body = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))


def _at(seconds: float) -> str:
    return datetime.fromtimestamp(int(seconds), timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
