from pathlib import Path

from modulebus.synapse.source import files_of, uses


def found(tmp_path: Path, text: str) -> list[str]:
    file = tmp_path / "module.py"
    file.write_text(text)
    return [f"{use.line} {use.name}" for use in uses([file])]


def test_what_needs_synapses_database_is_found_with_its_line(tmp_path: Path) -> None:
    text = "class M:\n  async def f(self):\n    await self._api.run_db_interaction('x', g)\n    self.api._hs.get_datastores().main\n"
    assert found(tmp_path, text) == ["3 run_db_interaction", "4 get_datastores"]


def test_what_a_module_calls_so_of_its_own_is_left_alone(tmp_path: Path) -> None:
    assert found(tmp_path, "class M:\n  def f(self):\n    self._store.get(1)\n    self.db._auth = 2\n") == []


def test_files_of_a_package_and_of_a_file_are_found() -> None:
    assert any(file.name == "worker.py" for file in files_of("modulebus.worker"))
    assert [file.name for file in files_of("this.Class")] == ["this.py"]
    assert files_of("no_such_package.Class") == []
