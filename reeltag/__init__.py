"""Tags for video and image archives at throughput, served by NVIDIA Triton."""

import sys
from importlib.metadata import PackageNotFoundError, version

# OpenVINO tells Google Analytics of each import, without having asked; without this module of its own it does not.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None forbids an import

try:
    __version__ = version("reeltag")
except PackageNotFoundError:  # a source tree on the path without an installation
    __version__ = "0.0.0"
