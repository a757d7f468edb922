import subprocess
import sys

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


def test_environment_without_synapse_is_told_what_to_install() -> None:
    code = "import sys; sys.modules['synapse'] = None; from modulebus.synapse import program; program.main()"
    ended = subprocess.run([sys.executable, "-c", code, "x.Y", "--server-name", "a", "--module", "m"], capture_output=True, text=True, check=False)
    assert ended.returncode == 78, ended.stderr
    assert "pip install matrix-synapse" in ended.stderr
    assert "Traceback" not in ended.stderr


LEAVING = """
import asyncio, sys, threading
from modulebus import program as every
from modulebus.synapse import program

async def run(*_):
    threading.Thread(target=threading.Event().wait).start()  # It never ends, and Python waits for it.
    asyncio.get_running_loop().call_soon(sys.exit, 3)
    await asyncio.Event().wait()

every.LAST = 0.2
program.run, program.version = run, lambda _: ""
program.main()
"""


def test_process_whose_worker_was_ended_by_its_synapse_module_does_not_stay() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", LEAVING, "x.Y", "--server-name", "a", "--module", "m"], capture_output=True, text=True, check=False, timeout=300
    )
    assert ended.returncode != 0, ended.stderr
