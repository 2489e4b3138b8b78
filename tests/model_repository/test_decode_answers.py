"""`decode` makes no tensor that was not asked for: Triton's stub frees those without the interpreter's lock.

Python 3.12 ends at that, earlier versions mostly do not, so that a real Triton shows nothing of it here.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

VIEWS = ["LETTERBOX_416X416_PAD114", "CENTER_CROP_224X224_PAD0"]


@pytest.fixture
def model(model_repository: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`model.py` with the modules that Triton gives it."""
    backend: Any = ModuleType("triton_python_backend_utils")
    backend.Tensor = lambda name, values: (name, values.shape)
    backend.InferenceResponse = dict
    backend.get_input_tensor_by_name = lambda request, name: SimpleNamespace(shape=lambda: [2, 1])
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", backend)
    monkeypatch.setitem(sys.modules, "c_python_backend_utils", ModuleType("c_python_backend_utils"))
    folder = model_repository / "decode" / "1"
    monkeypatch.syspath_prepend(str(folder))
    spec = importlib.util.spec_from_file_location("decode_model", folder / "model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "wanted",
    [["ERROR"], [VIEWS[0]], [f"{VIEWS[1]}_GEOMETRY"], ["ERROR", VIEWS[1]], ["ERROR", *VIEWS, f"{VIEWS[0]}_GEOMETRY"]],
)
def test_only_what_was_asked_for_is_made(model: Any, wanted: Sequence[str]) -> None:
    served = SimpleNamespace(
        views=VIEWS,
        shapes=[(416, 416, 3), (224, 224, 3)],
        decoder=SimpleNamespace(empty=lambda shape: np.zeros(shape, np.uint8)),
    )
    batch = model._Batch(SimpleNamespace(requested_output_names=lambda: wanted), None, served)
    assert batch.views, "a picture is decoded to learn of its errors, too"
    answered = batch.response()
    assert answered.keys() == set(wanted)
    assert all(shape[0] == 2 for shape in answered.values())
