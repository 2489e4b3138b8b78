"""Plates from end to end, on a drawn street whose plates are known.

`python -m benchmarks.plates FOLDER` learns a detector of vehicles and one of plates from drawn pictures (some minutes
on two cores; seeds are fixed, and what is in the folder already is kept), exports both and RapidOCR's recogniser as a
traffic team would, draws the street, and watches it with the real commands: plates raw, hashed, hashed with a salt of
five seconds, and raw ones that have grown too old. What the networks learned are these drawings and no real vehicles.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.plates import commands, judging, readings, street, traces
from benchmarks.plates.recogniser import recogniser
from edge.traffic.texts import Recogniser

_COUNTRY: Final = "de"
_SALT_SECONDS: Final = 5.0


def compare(folder: Path, road: list[street.Vehicle]) -> dict[str, Any]:
    """What was drawn and what was said, kept and shown."""
    raw = commands.configure(folder, "raw", country=_COUNTRY, raw=True)
    hashed = commands.configure(folder, "hashed", country=_COUNTRY)
    events, secret = commands.watch(folder, raw), commands.watch(folder, hashed)
    of, said = judging.tracked(events, road), judging.said(events)
    noting = readings.noted(folder, raw)
    ways = readings.ways(noting.of, _COUNTRY)
    read = Recogniser(folder / "models", "plate_text")
    looks = [seconds for seconds in noting.took if seconds > 1e-3]
    return {
        "vehicles": len(road),
        "with a track": len(set(of.values())),
        "reeltag watch": judging.judged(said, of, road),
        "wrong": judging.wrong(said, of, road),
        "ways": {name: judging.judged(plates, of, road) for name, plates in ways.items()},
        "single readings": judging.by_width(noting.of, of, road),
        "a look, ms": [round(1000 * float(np.quantile(looks, q)), 1) for q in (0.5, 0.95)],
        "raw pictures": traces.readable(folder / "raw/snapshots", events, road, read),
        "hashed pictures": traces.readable(folder / "hashed/snapshots", secret, road, read),
        "hashed": _hashed(folder, road, secret, said),
        "too old": _too_old(folder, road),
    }


def _hashed(folder: Path, road: list[street.Vehicle], events: judging.Events, said: dict[int, str]) -> dict[str, Any]:
    hashes = judging.said(events, "plate_hash")
    again = judging.said(commands.watch(folder, folder / "hashed.yaml"), "plate_hash")
    brief = commands.configure(folder, "brief", country=_COUNTRY, salt_hours=_SALT_SECONDS / 3600)
    salts = list(dict.fromkeys(judging.said(commands.watch(folder, brief), "salt").values()))
    return {
        "as many as raw ones": len(hashes) == len(said) and len(set(hashes.values())) == len(set(said.values())),
        "the same when watched again": hashes == again,
        "files with a plate": traces.files_with([folder / "hashed"], [*judging.texts(road), *_spaced(road)]),
        f"salts of {_SALT_SECONDS:.0f} s": len(salts),
        "files with one before the last": traces.files_with(
            [folder / "brief/spool"], [f'"name": "{s}"' for s in salts[:-1]]
        ),
    }


def _too_old(folder: Path, road: list[street.Vehicle]) -> dict[str, Any]:
    """Raw plates on the disk, before and after their days are over; meanwhile nothing happens."""
    texts = judging.texts(road)
    before = traces.files_with([folder / "raw"], texts)
    commands.watch(folder, commands.configure(folder, "raw", "pattern:320x240@15", keep_days=1e-6), frames=30)
    return {"files with a plate": before, "after keep_days": traces.files_with([folder / "raw"], texts)}


def _spaced(road: list[street.Vehicle]) -> list[str]:
    return [one.look.plate for one in road]


def main() -> None:
    """Learn, export, draw, watch, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--vehicles", type=int, default=60)
    parser.add_argument("--seed", type=int, default=3, help="of the street; 1 and 2 were looked at")
    parser.add_argument("--prepare", action="store_true", help="learn, export and draw, and watch nothing")
    chosen = parser.parse_args()
    folder: Path = chosen.folder
    folder.mkdir(parents=True, exist_ok=True)
    commands.learn(folder)
    if not (folder / "models").exists():
        commands.export(folder, recogniser())
    road = street.vehicles(chosen.vehicles, chosen.seed)
    if not (folder / commands.VIDEO).exists():
        street.write(folder / commands.VIDEO, street.frames(road, chosen.seed))
    if not chosen.prepare:
        for name in ("raw", "hashed", "brief"):
            shutil.rmtree(folder / name, ignore_errors=True)
        print(json.dumps(compare(folder, road), indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
