from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from reeltag.embedded.folder import RunFolder, remove_abandoned
from reeltag.embedded.guard import SHARED_MEMORY, close_to_others, remove_stale_shared_memory
from reeltag.errors import EmbeddedUnavailable
from tests.reeltag.embedded.caller import NOBODY


@pytest.fixture
def ended_pid() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    return ended.pid


def test_shared_memory_of_dead_starters_is_removed(ended_pid: int) -> None:
    stale = SHARED_MEMORY / f"reeltag_test_{ended_pid}_x"
    alive = SHARED_MEMORY / f"reeltag_test_{os.getpid()}_x"
    stale.touch()
    alive.touch()
    try:
        remove_stale_shared_memory("reeltag_test")
        assert not stale.exists()
        assert alive.exists()
    finally:
        alive.unlink()
        stale.unlink(missing_ok=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_what_another_user_left_in_shared_memory_is_no_obstacle(ended_pid: int) -> None:
    stale = SHARED_MEMORY / f"reeltag_test_{ended_pid}_y"
    stale.touch()
    script = (
        "import os; from reeltag.embedded.guard import remove_stale_shared_memory\n"
        f"os.setgid({NOBODY}); os.setuid({NOBODY}); remove_stale_shared_memory('reeltag_test')"
    )
    try:
        subprocess.run([sys.executable, "-c", script], check=True)
        assert stale.exists()
    finally:
        stale.unlink()


def test_shared_memory_that_the_kernel_could_not_keep_private_is_closed() -> None:
    region = SHARED_MEMORY / f"reeltag_test_{os.getpid()}_z"
    region.touch()
    region.chmod(0o644)
    try:
        assert close_to_others(region.name) == [region]
        assert region.stat().st_mode & 0o777 == 0o600
        assert close_to_others(region.name) == []
    finally:
        region.unlink()


def test_folders_of_killed_runs_are_removed_and_those_in_use_are_not(
    tmp_path: Path, ended_pid: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    used = RunFolder.make()
    abandoned = tmp_path / f"reeltag-triton-{ended_pid}-abc"
    locked = used.path.rename(tmp_path / f"reeltag-triton-{ended_pid}-used")
    abandoned.mkdir()
    remove_abandoned(tmp_path)
    assert not abandoned.exists()
    assert locked.exists()
    used.remove()
    remove_abandoned(tmp_path)
    assert not locked.exists()


@pytest.mark.parametrize("name", ["a" * 120, "with a space", "50%"])
def test_a_folder_in_which_no_socket_can_be_named_is_refused(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / name
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    with pytest.raises(EmbeddedUnavailable, match="TMPDIR"):
        RunFolder.make()
    assert not list(folder.iterdir())
