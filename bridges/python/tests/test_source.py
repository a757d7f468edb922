import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from modulebus.synapse import source


def found(text: str, *served: str) -> list[str]:
    return [f"{use.line} {use.name}" for use in source.uses({Path("module.py"): ast.parse(text)}, served)]


def test_what_needs_synapses_database_is_found_with_its_line() -> None:
    text = "class M:\n  async def f(self):\n    await self._api.run_db_interaction('x', g)\n    self.api._hs.get_datastores().main\n    hs.get_auth_handler()\n"
    assert found(text) == ["3 run_db_interaction", "4 get_datastores", "5 get_auth_handler"]


def test_what_a_module_calls_so_of_its_own_is_left_alone() -> None:
    assert found("class M:\n  def f(self):\n    self._store.get(1)\n    self.db._auth = 2\n    api._hs.get_clock()\n") == []


def test_methods_that_are_called_over_the_bus_are_within_reach() -> None:
    text = "class M:\n  async def f(self):\n    await self.api._store.get_users(1)\n    await self.api._store.other()\n    self.api._hs.get_x_handler().undo(2)\n"
    assert found(text, "_store.get_users", "get_x_handler.undo") == ["4 _store"]
    assert found(text) == ["3 _store", "4 _store", "5 get_x_handler"]


def test_files_of_a_package_and_of_a_file_are_found() -> None:
    assert any(file.name == "worker.py" for file in source.files_of("modulebus.worker"))
    assert [file.name for file in source.files_of("this.Class")] == ["this.py"]
    with pytest.raises(ModuleNotFoundError):
        source.files_of("no_such_package.Class")


def test_survey_runs_by_itself_and_imports_nothing_of_the_module(tmp_path: Path) -> None:
    (tmp_path / "gate.py").write_text(
        "import no_such_package\n"
        "try:\n  import optional_package\nexcept ImportError: pass\n"
        "raise SystemExit('it was imported')\n"
        "class Gate:\n  def __init__(self, config, api):\n"
        "    api.register_spam_checker_callbacks(user_may_invite=self.f, accept_make_join=self.f)\n"
        "    api.register_web_resource('/_synapse/client/gate', self)\n"
        "    api.send_mail()\n"
    )
    program = Path(source.__file__).read_text()
    run = subprocess.run([sys.executable, "-c", program, "", "gate.Gate", "nothere.X"], env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, check=True)
    gate, nothere = json.loads(run.stdout)
    assert gate["callbacks"] == ["user_may_invite", "accept_make_join"] and gate["registers"]
    assert gate["pages"] == ["/_synapse/client/gate"] and gate["missing"] == ["no_such_package"]
    assert "send_mail" in gate["attributes"] and not gate["uses"] and not gate["problem"]
    assert "nothere is not installed" in nothere["problem"]
