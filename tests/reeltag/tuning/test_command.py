from __future__ import annotations

from pathlib import Path

import pytest

from reeltag.commands.tune import tune, write_whole
from reeltag.errors import InputError, OutputError
from reeltag.machine import this_machine
from reeltag.sizing import TUNED_FILE, Tuned, read_tuned


def test_what_is_written_is_read_back_and_takes_the_place_of_the_old(tmp_path: Path) -> None:
    state = tmp_path / "not" / "there"
    for instances in (1, 2):
        tuned = Tuned(this_machine().cores, 1, {"network_instances": instances}, 1.5, "for throughput")
        write_whole(state / TUNED_FILE, tuned.to_json())
        assert read_tuned(state) == tuned
    assert [path.name for path in state.iterdir()] == [TUNED_FILE]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="set REELTAG_STATE_DIR"):
        write_whole(tmp_path / "file" / TUNED_FILE, "{}")
    (tmp_path / TUNED_FILE).mkdir()  # nothing can take the place of a folder
    with pytest.raises(OutputError):
        write_whole(tmp_path / TUNED_FILE, "{}")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", TUNED_FILE]


def test_a_folder_without_pictures_is_told_before_anything_is_started(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no JPEGs"):
        tune(images=tmp_path)
