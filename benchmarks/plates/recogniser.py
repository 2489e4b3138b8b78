"""The text recogniser that is the working example: PaddleOCR's, as RapidOCR has it on PyPI."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from exporters.catalogue.packages import fetch

_PACKAGE: Final = ("rapidocr-onnxruntime", "1.4.4", "971d7d5f223a7a808662229df1ef69893809d8457d834e6373d3854bc1782cbf")


def models() -> Path:
    """The folder with the ONNX files of RapidOCR.

    Raises:
        SetupError: They cannot be downloaded.
    """
    return fetch(*_PACKAGE) / "rapidocr_onnxruntime/models"


def recogniser() -> Path:
    """The ONNX file of the recogniser of text.

    Raises:
        SetupError: It cannot be downloaded.
    """
    return models() / "ch_PP-OCRv4_rec_infer.onnx"
