import os
import stat
import tempfile
from pathlib import Path

import pytest

pytest.importorskip("synapse")

from modulebus.synapse import site  # noqa: E402


def test_socket_of_pages_fits_where_temporary_files_have_a_long_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    path = Path(site.socket_path())
    assert len(os.fsencode(path)) <= site.LONGEST
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    path.parent.rmdir()
