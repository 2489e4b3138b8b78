"""Plates from end to end, on a drawn street whose plates are known.

`python -m benchmarks.plates FOLDER` learns a detector of vehicles and one of plates from drawn pictures (about two
minutes on two cores; seeds are fixed), exports both and RapidOCR's recogniser as a traffic team would, draws the
street, and watches it with the real commands.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, Final

from benchmarks.plates import commands, judging, street
from exporters.catalogue.packages import fetch

RAPIDOCR: Final = ("rapidocr-onnxruntime", "1.4.4", "971d7d5f223a7a808662229df1ef69893809d8457d834e6373d3854bc1782cbf")
RECOGNISER: Final = "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx"


def compare(folder: Path, count: int, seed: int) -> dict[str, Any]:
    vehicles = street.vehicles(count, seed)
    if not (folder / "street.mp4").exists():
        street.write(folder / "street.mp4", street.frames(vehicles, seed))
    events = commands.watch(folder, commands.configure(folder, "raw", "street.mp4", country="de", raw=True))
    of, said = judging.tracked(events, vehicles), judging.said(events)
    return {
        "tracked": len(set(of.values())) / count,
        **judging.judged(said, of, vehicles),
        "wrong ones": judging.wrong(said, of, vehicles),
        "not read ones": sorted(set(judging.texts(vehicles)) - set(said.values())),
    }


def main() -> None:
    """Learn, export, watch, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--vehicles", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1, help="of the street")
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    commands.learn(chosen.folder)
    if not (chosen.folder / "models").exists():
        commands.export(chosen.folder, fetch(*RAPIDOCR) / RECOGNISER)
    print(json.dumps(compare(chosen.folder, chosen.vehicles, chosen.seed), indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
