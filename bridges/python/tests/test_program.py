import pytest

pytest.importorskip("synapse")

from modulebus.module import ALL_STATE  # noqa: E402
from modulebus.synapse import legacy, program  # noqa: E402


def test_state_that_is_needed_is_read_from_a_flag() -> None:
    assert program.needed("") is ALL_STATE
    assert program.needed("m.room.create=, m.room.member,x.y=k") == [("m.room.create", ""), ("m.room.member", None), ("x.y", "k")]
    with pytest.raises(ValueError, match="type of event is missing"):
        program.needed("=k")


def test_each_section_but_modules_has_a_loader() -> None:
    assert set(program.SECTIONS) - {"modules"} == set(legacy.MAKERS)
