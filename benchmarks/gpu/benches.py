"""Parts `seminar` and `scaling`: the seminar's table as `reeltag bench model` has it, and the cores."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from typing import Final

from benchmarks.gpu.setting import Said, Setting
from exporters.machine import cores

_SEGMENTER: Final = "swiftnet_rn18"
_SIZES: Final = {"cuda": ((256, 512), (512, 1024)), "cpu": ((64, 128),)}


def seminar(setting: Setting) -> Said:
    """SwiftNet in every runtime; a row that does not run says why."""
    from exporters.bench import seminar as table  # noqa: PLC0415  # it imports torch

    said = Said()
    rows = list(table.measure(_SEGMENTER, sizes=_SIZES[setting.device], seconds=setting.seconds / 2))
    said.rows = [dict(row) for row in table.table(rows)]
    said.notes += table.notes(rows)
    ran = [row for row in rows if row.alone is not None]
    said.add("rows of the seminar's table that ran", len(ran), "rows", f"of {len(rows)}")
    return said


def scaling(setting: Setting) -> Said:
    """`benchmarks.scaling`, where it is there, at few numbers of cores."""
    said = Said()
    if importlib.util.find_spec("benchmarks.scaling") is None:
        said.notes.append("benchmarks.scaling is not part of this checkout")
        return said
    steps = [str(count) for count in (2, 8, cores()) if count <= cores()]
    command = [sys.executable, "-m", "benchmarks.scaling", "--cores", *dict.fromkeys(steps)]
    command += ["--seconds", str(setting.seconds), "--video-seconds", "0"]
    with tempfile.TemporaryDirectory() as folder:
        found = subprocess.run([*command, "--out", folder], capture_output=True, text=True, check=False)
    if found.returncode:
        raise RuntimeError(f"benchmarks.scaling ended with {found.returncode}: {found.stderr[-500:]}")
    said.notes += found.stdout.splitlines()
    return said
