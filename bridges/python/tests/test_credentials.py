import base64
import json
from pathlib import Path

import pytest

from modulebus.credentials import CredentialsError, check, explain, exposed, module_of, turned_away

NOW = 1_800_000_000


def made(claims: object, seed: str = "SUAEXAMPLE") -> str:
    """A credentials file as NATS has them."""
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return (
        f"-----BEGIN NATS USER JWT-----\nhead.{body}.signature\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not the whole of it"),
        (made({})[:60], "not the whole of it"),
        (made({}).split("-----BEGIN USER")[0], "not the whole of it"),
        (made([]), "holds no NATS user"),
        (made({"exp": "tomorrow"}), "holds no NATS user"),
        (made({"exp": [1]}), "holds no NATS user"),
        (made({"exp": float("inf")}), "holds no NATS user"),
        (made({"exp": True}), "holds no NATS user"),
        (made({"nbf": 10**30}), "holds no NATS user"),
        (made({"exp": NOW}), "has expired at 2027-01-15T08:00:00Z, and it is 2027-01-15T08:00:00Z"),
        (made({"nbf": NOW + 300}), "counts from 2027-01-15T08:05:00Z on"),
    ],
)
def test_credentials_that_are_bad_are_explained(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "gate.creds"
    file.write_text(text)
    with pytest.raises(CredentialsError, match=says) as raised:
        check(str(file), "gate", NOW)
    assert str(file) in str(raised.value)
    assert "SUAEXAMPLE" not in str(raised.value)


def test_credentials_that_count_are_taken(tmp_path: Path) -> None:
    file = tmp_path / "gate.creds"
    file.write_text(made({"nbf": NOW - 1, "exp": NOW + 1}))
    check(str(file), "gate", NOW)
    file.chmod(0o644)
    assert exposed(str(file))
    file.chmod(0o600)
    assert not exposed(str(file))


@pytest.mark.parametrize(
    ("text", "module"),
    [
        (made({"name": "module gate", "nats": {"pub": {"allow": ["x"]}}}), "gate"),
        (made({"name": "module gate", "nats": {"pub": {}}}), None),
        (made({"name": "module gate"}), None),
        (made({"name": "homeserver", "nats": {"pub": {"allow": ["x"]}}}), None),
        (made({"name": "module gate", "nats": []}), None),
        (made([]), None),
        ("", None),
    ],
)
def test_credentials_say_of_which_module_they_are(tmp_path: Path, text: str, module: str | None) -> None:
    file = tmp_path / "some.creds"
    file.write_text(text)
    assert module_of(str(file)) == module


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(CredentialsError, match="--credentials: cannot read /nowhere: no such file"):
        check("/nowhere", "gate")


def test_who_is_turned_away_is_told_what_to_do(tmp_path: Path) -> None:
    assert turned_away(Exception("nats: 'Authorization Violation'"))
    assert not turned_away(Exception("nats: permissions violation for publish to x"))
    assert "name a file" in explain(None, "gate")
    file = tmp_path / "gate.creds"
    file.write_text(made({}))
    assert "is module gate listed in busd.yaml" in explain(str(file), "gate")
    file.write_text(made({"exp": 1}))
    assert "has expired" in explain(str(file), "gate")
