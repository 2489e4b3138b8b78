from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parent.parent


def load_backend_module(folder: str, name: str) -> ModuleType:
    """Import the pure sibling of a Python backend, such as `nms/1/suppression.py`."""
    path = ROOT / "model_repository" / folder / "1" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"{folder}_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
