"""The tritonserver that the wheel `nvidia-pytriton` carries: found, started, watched and stopped.

Only the wheel's server, Python backend and stubs are used; its Python API is not.
"""

from reeltag.embedded.files import TritonFiles, find
from reeltag.embedded.server import EmbeddedTriton

__all__ = ["EmbeddedTriton", "TritonFiles", "find"]
