from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def attention_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`Attention(4)` as today's default export writes it, which takes some seconds."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    from tests.exporters.sources.brought.batch.networks import SIDE, Attention, default_export

    folder = tmp_path_factory.mktemp("attention")
    return default_export(folder / "default.onnx", Attention(4), torch.rand(1, 3, SIDE, SIDE))
