"""NVIDIA's Jetson devices: which there are, what runs on them, and what this one is.

Imports nothing but the standard library, and runs under Python 3.8. Sources: NVIDIA's pages of JetPack 4.6.6, 5.1.5,
6.2 and 7.0, and the release notes of Triton for Jetson; docs/edge.md has the table with its links.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from reeltag.errors import SetupError

_TIMEOUT_SECONDS = 10
_MODEL = "proc/device-tree/model"
_RELEASE = "etc/nv_tegra_release"
_GPU_CLOCKS = "sys/class/devfreq"
_CPU_CLOCKS = "sys/devices/system/cpu/cpu0/cpufreq"


class JetPack(NamedTuple):
    """A generation of NVIDIA's software for Jetson."""

    number: int
    """Major version."""
    l4t: int
    """Major version of Linux for Tegra, as `/etc/nv_tegra_release` says it."""
    tensorrt: str
    """Version of TensorRT in its newest release."""
    python: str
    triton: str
    """How `reeltag serve --profile edge` has its Triton there; empty where it cannot be had."""
    exports: bool
    """Whether `reeltag export`, which needs Python 3.10, runs on it; otherwise `python3 -m edge plan` builds plans."""
    watches: bool
    """Whether `reeltag watch` runs plans on it, which needs TensorRT 8.5 and Python 3.8."""


JETPACKS = (
    JetPack(4, 32, "8.2", "3.6", "", exports=False, watches=False),
    JetPack(5, 35, "8.5", "3.8", "the archive of tritonserver for JetPack 5", exports=False, watches=True),
    JetPack(6, 36, "10.3", "3.10", "the container with the suffix -igpu", exports=True, watches=True),
    JetPack(7, 38, "10.13", "3.12", "the container, which is the one of servers", exports=True, watches=True),
)


class Board(NamedTuple):
    """A family of modules."""

    name: str
    pattern: str
    """Of the name that its device tree has."""
    newest: int
    """Last major version of JetPack for it."""
    dla_cores: int
    """Deep Learning Accelerators."""
    compute_capability: str
    """Of its GPU."""


BOARDS = (
    Board("Jetson TX2", r"TX2|quill", 4, 0, "6.2"),
    Board("Jetson Nano", r"Jetson Nano", 4, 0, "5.3"),
    Board("Jetson Xavier NX", r"Xavier NX", 5, 2, "7.2"),
    Board("Jetson AGX Xavier", r"AGX Xavier|Jetson-AGX", 5, 2, "7.2"),
    Board("Jetson Orin Nano", r"Orin Nano", 6, 0, "8.7"),
    Board("Jetson Orin NX", r"Orin NX", 6, 2, "8.7"),
    Board("Jetson AGX Orin", r"AGX Orin", 6, 2, "8.7"),
    Board("Jetson Thor", r"Thor", 7, 0, "11.0"),
)


class Device(NamedTuple):
    """A Jetson, as it is set up now."""

    model: str
    """As its device tree names it."""
    l4t: str
    """Such as `36.4.3`."""
    power_mode: str
    """Such as `15W`; empty where `nvpmodel` does not say."""
    gpu_max_hertz: int | None
    """Highest clock that the power mode lets the GPU have."""
    cpu_max_hertz: int | None

    @property
    def board(self) -> Board | None:
        """Its family; none of one that is not known yet."""
        for board in BOARDS:
            if re.search(board.pattern, self.model):
                return board
        return None

    @property
    def jetpack(self) -> JetPack | None:
        """Its software; none of one that is not known yet."""
        for jetpack in JETPACKS:
            if self.l4t.split(".")[0] == str(jetpack.l4t):
                return jetpack
        return None

    def check_export(self) -> None:
        """Refuse what cannot make plans by `reeltag export`.

        Raises:
            SetupError: Its software is too old; the text says what works instead.
        """
        jetpack = self.jetpack
        if jetpack is not None and not jetpack.exports:
            instead = (
                "export the graph elsewhere (reeltag export NAME --profile edge --runtime onnxruntime), copy the model "
                "repository here, and build the plan by: python3 -m edge plan NAME"
                if jetpack.watches
                else "only trtexec builds plans there, and nothing of reeltag runs them"
            )
            raise SetupError(f"{self._named} has Python {jetpack.python}, and reeltag export needs 3.10; {instead}")

    def check_watch(self) -> None:
        """Refuse what cannot run plans.

        Raises:
            SetupError: Its software is too old; the text says what would be right.
        """
        jetpack = self.jetpack
        if jetpack is not None and not jetpack.watches:
            newest = self.board.newest if self.board else jetpack.number
            way_out = f"; install JetPack {newest}" if newest > jetpack.number else ", and there is no newer one for it"
            raise SetupError(
                f"{self._named} has TensorRT {jetpack.tensorrt}, and reeltag needs 8.5 (JetPack 5){way_out}"
            )

    def check_dla(self, core: int) -> None:
        """Refuse an accelerator that is not there.

        Raises:
            SetupError: The text says which there are.
        """
        board = self.board
        if board is not None and core >= board.dla_cores:
            has = f"has {board.dla_cores}, 0 to {board.dla_cores - 1}" if board.dla_cores else "has none: leave it out"
            raise SetupError(f"--dla {core}: {board.name} {has}")

    @property
    def _named(self) -> str:
        return f"{self.model} with JetPack {self.jetpack.number if self.jetpack else '?'} (L4T {self.l4t})"


def this_device(root: Path = Path("/")) -> Device | None:
    """The Jetson that this runs on; none elsewhere.

    Args:
        root: Of the file system, for tests.
    """
    model = _text(root / _MODEL).strip("\0\n ")
    release = re.search(r"# R(\d+) \(release\), REVISION: ([\d.]+)", _text(root / _RELEASE))
    if release is None and "Jetson" not in model:
        return None
    l4t = f"{release[1]}.{release[2]}" if release else ""
    return Device(model or "a Jetson", l4t, _power_mode(), _gpu_clock(root), _cpu_clock(root))


def _power_mode() -> str:
    program = shutil.which("nvpmodel")
    if program is None:
        return ""
    try:
        run = subprocess.run([program, "-q"], capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    mode = re.search(r"NV Power Mode: *(\S+)", run.stdout)
    return mode[1] if mode else ""


def _gpu_clock(root: Path) -> int | None:
    # Named by its address and kind: 17000000.gpu (Orin), 17000000.gv11b (Xavier), 57000000.gpu (Nano).
    for folder in sorted((root / _GPU_CLOCKS).glob("*.g[pvab]*")):
        text = _text(folder / "max_freq").strip()
        if text.isdigit():
            return int(text)
    return None


def _cpu_clock(root: Path) -> int | None:
    text = _text(root / _CPU_CLOCKS / "scaling_max_freq").strip()
    return int(text) * 1000 if text.isdigit() else None  # kilohertz


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8", "replace")
    except OSError:
        return ""
