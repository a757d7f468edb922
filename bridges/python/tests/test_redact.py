import json

from modulebus import messages, redact

SECRET = 'hunter2 "one" \n é'


def test_text_has_no_secret_of_what_it_is_about() -> None:
    about = messages.AuthCheckersRequest(user="alice", login_dict={"password": SECRET, "more": [123456, True, None, "ab"]})
    for text, want in {
        f"alice: {SECRET}!": "alice: [redacted]!",
        f"in JSON {json.dumps(SECRET)}": 'in JSON "[redacted]"',
        f"in Python {SECRET!r}": "in Python '[redacted]'",
        "123456 and True and ab": "[redacted] and True and ab",
    }.items():
        assert redact.text(text, about) == want


def test_text_has_no_secret_of_messages_in_messages() -> None:
    about = messages.CheckRegistrationForSpamRequest(
        email_threepid=messages.Threepid(medium="email", address="alice@example.org"), request_info=[messages.RequestInfo(ip="203.0.113.7")]
    )
    assert redact.text("email alice@example.org 203.0.113.7", about) == "email [redacted] [redacted]"


def test_text_about_what_has_no_secrets_is_as_it_was() -> None:
    for about in (None, messages.UserMayCreateRoomRequest(user_id="@alice:example.org"), "@alice:example.org", messages.Threepid):
        assert redact.text("@alice:example.org may not", about) == "@alice:example.org may not"
