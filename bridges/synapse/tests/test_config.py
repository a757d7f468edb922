from pathlib import Path
from typing import Any

import pytest
from modulebus_synapse import ModuleBus
from modulebus_synapse.config import Policy
from modulebus_synapse.table import TABLE
from synapse.module_api.errors import ConfigError

URL = {"url": "http://127.0.0.1:8010"}


def test_what_is_left_out(tmp_path: Path) -> None:
    config = ModuleBus.parse_config({"url": "http://127.0.0.1:8010/"})
    assert (config.url, config.timeout, config.token, config.api_token, config.web) == (
        "http://127.0.0.1:8010", 2.5, None, None, (),
    )  # fmt: skip
    assert config.policy(TABLE.callbacks["user_may_invite"]) == Policy("fail", "fail")
    assert config.policy(TABLE.callbacks["check_event_for_spam"]) == Policy("fail", "skip")
    assert config.policy(TABLE.callbacks["check_can_shutdown_room"]) == Policy("skip", "skip")


def test_all_of_it(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret\n")
    config = ModuleBus.parse_config(
        {
            **URL,
            "token_file": str(token),
            "api_token_file": str(token),
            "timeout": "1m30s",
            "on_failure": {
                "check_event_for_spam": {"local": "refuse"},
                "spam_checker.user_may_invite": "skip",
            },
            "web": ["/_synapse/client/demo"],
        }
    )
    assert (config.token, config.api_token, config.timeout) == ("secret", "secret", 90)
    assert config.policy(TABLE.callbacks["check_event_for_spam"]) == Policy("refuse", "skip")
    assert config.policy(TABLE.callbacks["user_may_invite"]) == Policy("skip", "skip")
    assert config.web == ("/_synapse/client/demo",)
    assert "secret" not in repr(config)


def test_times_by_callback() -> None:
    config = ModuleBus.parse_config({**URL, "timeout": {"default": "3s", "check_media_file_for_spam": "10s"}})
    times = [config.timeout_of(TABLE.callbacks[name]) for name in ("check_media_file_for_spam", "user_may_invite")]
    assert times == [10, 3]
    assert ModuleBus.parse_config({**URL, "timeout": {"on_new_event": 500}}).timeout == 2.5


@pytest.mark.parametrize(
    ("wrong", "path", "says"),
    [
        ({"url": None}, ("url",), "url is required"),
        ({"url": "127.0.0.1:8010"}, ("url",), "HTTP URL"),
        ({"url": "http://u:p@127.0.0.1"}, ("url",), "without a password"),
        ({"url": "http://:p@127.0.0.1"}, ("url",), "without a password"),
        ({"url": "http://127.0.0.1/a b"}, ("url",), "HTTP URL"),
        ({"url": "http://127.0.0.1/a\r\nb"}, ("url",), "HTTP URL"),
        ({"timeout": "5 minutes"}, ("timeout",), "'5 minutes' is not a duration"),
        ({"timeout": 0}, ("timeout",), "not a duration"),
        ({"timeout": True}, ("timeout",), "not a duration"),
        ({"timeout": {"no_such": "1s"}}, ("timeout", "no_such"), "no callback"),
        ({"timeout": {"user_may_invite": "soon"}}, ("timeout", "user_may_invite"), "not a duration"),
        ({"token_file": "/nowhere/token"}, ("token_file",), "cannot read /nowhere/token"),
        ({"api_token_file": "/dev/null"}, ("api_token_file",), "is empty"),
        ({"token_file": __file__}, ("token_file",), "more in it than a line of text"),
        ({"on_failure": "skip"}, ("on_failure",), "by name"),
        ({"on_failure": {"no_such": "skip"}}, ("on_failure", "no_such"), "no callback"),
        ({"on_failure": {"x.user_may_invite": "skip"}}, ("on_failure", "x.user_may_invite"), "no callback"),
        ({"on_failure": {"user_may_invite": "allow"}}, ("on_failure", "user_may_invite"), "skip, refuse or fail"),
        ({"on_failure": {"is_user_expired": "refuse"}}, ("on_failure", "is_user_expired"), "nothing to refuse"),
        ({"web": "/x"}, ("web",), "list of paths"),
        ({"web": ["x"]}, ("web", "<item 0>"), "is not a path"),
        ({"web": ["/ok", "/_matrix/client"]}, ("web", "<item 1>"), "Synapse's or busd's own"),
        ({"web": ["/_synapse"]}, ("web", "<item 0>"), "Synapse's or busd's own"),
        ({"webs": []}, ("webs",), "unknown key 'webs'"),
    ],
)
def test_what_is_wrong_is_named(wrong: dict[str, Any], path: tuple[str, ...], says: str) -> None:
    with pytest.raises(ConfigError) as raised:
        ModuleBus.parse_config({**URL, **wrong})
    assert raised.value.path == path
    assert says in raised.value.msg
