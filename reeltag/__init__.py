"""Tags for video and image archives at throughput, served by NVIDIA Triton."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("reeltag")
except PackageNotFoundError:  # a source tree on the path without an installation
    __version__ = "0.0.0"
