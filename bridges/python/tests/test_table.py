import modulebus
from modulebus import messages, table
from modulebus.module import handlers


def test_each_callback_and_each_method_has_its_messages() -> None:
    for name in [*table.callbacks(), *table.methods()]:
        assert hasattr(messages, f"{table.class_name(name)}Request") and hasattr(messages, f"{table.class_name(name)}Response")


def test_a_module_has_callbacks_whose_names_have_digits_in_them() -> None:
    class Module:
        @modulebus.callback
        async def user_may_send_3pid_invite(self, request: messages.UserMaySend3PidInviteRequest) -> None:
            return None

    assert list(handlers(Module())) == ["spam_checker.user_may_send_3pid_invite"]
