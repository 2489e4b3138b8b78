"""How well our tracker keeps identities, beside ByteTrack of `trackers`, on the same noisy boxes.

`pip install motmetrics==1.4.0 trackers==2.6.1` into a virtual environment and run `python -m benchmarks.tracking`
there: the truth of TUD-Campus and TUD-Stadtmitte comes with motmetrics. Boxes are dropped, jittered and added by seed.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from edge.traffic.boxes import overlaps
from edge.traffic.tracker import Tracker

RATE: Final = 25.0
"""Frames a second of both sequences."""
SEQUENCES: Final = ("TUD-Campus", "TUD-Stadtmitte")
FIRST_SEED: Final = 1000
"""The constants of the tracker were chosen with the seeds 0 to 29."""
Boxes = npt.NDArray[Any]
Frames = list[Boxes]
"""For each frame float64 `[N, 5]`: x1, y1, x2, y2, identity."""


class Noise(NamedTuple):
    """What is done to the truth, in shares of the boxes; jitter in shares of a box's size."""

    dropped: float
    unsure: float
    added: float
    jitter: float


NOISES: Final = {
    "light": Noise(0.05, 0.1, 0.05, 0.02),
    "medium": Noise(0.15, 0.2, 0.15, 0.04),
    "heavy": Noise(0.3, 0.3, 0.3, 0.06),
}

Tracking = Callable[[list[Boxes]], Iterator[Boxes]]


def truth(sequence: str) -> Frames:
    """The true boxes of a sequence of motmetrics."""
    spec = find_spec("motmetrics")
    if spec is None or spec.origin is None:
        raise SystemExit("pip install motmetrics==1.4.0: it holds the two sequences and their metrics")
    rows = np.loadtxt(Path(spec.origin).parent / "data" / sequence / "gt.txt", delimiter=",")
    last = int(rows[:, 0].max())
    frames = []
    for number in range(1, last + 1):
        of = rows[rows[:, 0] == number]
        frames.append(np.column_stack((of[:, 2:4], of[:, 2:4] + of[:, 4:6], of[:, 1])))
    return frames


def detections(frames: Frames, noise: Noise, seed: int) -> list[Boxes]:
    """What a detector would have seen: float32 `[N, 6]` for each frame."""
    random = np.random.default_rng(seed)
    right = max(frame[:, 2].max() for frame in frames if len(frame))
    bottom = max(frame[:, 3].max() for frame in frames if len(frame))
    return [_noisy(frame, noise, random, right, bottom) for frame in frames]


def _noisy(frame: Boxes, noise: Noise, random: np.random.Generator, right: float, bottom: float) -> Boxes:
    kept = frame[random.random(len(frame)) >= noise.dropped, :4]
    size = np.tile(kept[:, 2:] - kept[:, :2], 2)
    boxes = kept + random.normal(0.0, noise.jitter, kept.shape) * size
    scores = np.where(
        random.random(len(kept)) < noise.unsure,
        random.uniform(0.2, 0.6, len(kept)),
        random.uniform(0.7, 1.0, len(kept)),
    )
    false = random.binomial(len(frame), noise.added)
    corner = random.uniform(0, (right * 0.9, bottom * 0.7), (false, 2))
    extra = np.column_stack((corner, corner + random.uniform((20, 60), (90, 200), (false, 2))))
    both = np.concatenate((boxes, extra))
    scores = np.concatenate((scores, random.uniform(0.2, 0.85, false)))
    return np.column_stack((both, scores, np.zeros(len(both)))).astype(np.float32)


def ours(seen: list[Boxes]) -> Iterator[Boxes]:
    """Boxes and identities, frame by frame, by edge.traffic."""
    tracker = Tracker()
    for number, boxes in enumerate(seen):
        found = tracker.update(number / RATE, boxes)
        yield np.array([[*boxes[track.detection, :4], track.number] for track in found]).reshape(-1, 5)


def theirs(seen: list[Boxes]) -> Iterator[Boxes]:
    """The same by ByteTrack of `trackers`, as it comes."""
    import supervision  # noqa: PLC0415 - only for the comparison
    from trackers import ByteTrackTracker  # noqa: PLC0415 - likewise

    tracker = ByteTrackTracker(frame_rate=RATE)
    for boxes in seen:
        given = supervision.Detections(xyxy=boxes[:, :4], confidence=boxes[:, 4], class_id=boxes[:, 5].astype(int))
        found = tracker.update(given)
        known = found.tracker_id >= 0
        yield np.column_stack((found.xyxy[known], found.tracker_id[known])).reshape(-1, 5)


def score(frames: Frames, tracked: list[Boxes]) -> dict[str, float]:
    """MOTA and IDF1 by motmetrics at an overlap of 0.5, HOTA by `trackers`; each at most 1."""
    import motmetrics  # noqa: PLC0415 - only in the scratch environment
    from trackers.eval import compute_hota_metrics  # noqa: PLC0415 - likewise

    rows = motmetrics.MOTAccumulator(auto_id=True)
    names = [(true[:, 4].astype(int), found[:, 4].astype(int)) for true, found in zip(frames, tracked, strict=True)]
    likeness = [overlaps(true, found) for true, found in zip(frames, tracked, strict=True)]
    for (true, found), like in zip(names, likeness, strict=True):
        rows.update(true, found, np.where(like >= 0.5, 1 - like, np.nan))
    plain = motmetrics.metrics.create().compute(rows, metrics=["mota", "idf1"], return_dataframe=False)
    hota = compute_hota_metrics([true for true, _ in names], [found for _, found in names], likeness)
    return {"MOTA": float(plain["mota"]), "IDF1": float(plain["idf1"]), "HOTA": float(hota["HOTA"])}


def measure(
    sequence: str, noise: Noise, seeds: int, tracker: Callable[[list[Boxes]], Iterator[Boxes]]
) -> dict[str, Any]:
    """Means over the seeds, and the standard deviations of single seeds."""
    frames = truth(sequence)
    scores, seconds = [], 0.0
    for seed in range(FIRST_SEED, FIRST_SEED + seeds):
        seen = detections(frames, noise, seed)
        began = time.perf_counter()
        tracked = list(tracker(seen))
        seconds += time.perf_counter() - began
        scores.append(score(frames, tracked))
    means = {name: float(np.mean([one[name] for one in scores])) for name in scores[0]}
    spread = {f"{name} +-": float(np.std([one[name] for one in scores], ddof=min(1, seeds - 1))) for name in scores[0]}
    return {**means, **spread, "ms": 1000 * seconds / seeds / len(frames)}


def main() -> None:
    """Print the table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    ways = {"reeltag": ours, "trackers": theirs}
    rows = [
        {"sequence": sequence, "noise": name, "tracker": way, **measure(sequence, noise, chosen.seeds, call)}
        for sequence in SEQUENCES
        for name, noise in NOISES.items()
        for way, call in ways.items()
    ]
    if chosen.json:
        print(json.dumps(rows, indent=1))
        return
    kinds = ("MOTA", "IDF1", "HOTA")
    print(f"{'sequence':<16}{'noise':<8}{'tracker':<10}{''.join(f'{kind:>15}' for kind in kinds)}{'ms/frame':>10}")
    for row in rows:
        names = f"{row['sequence']:<16}{row['noise']:<8}{row['tracker']:<10}"
        figures = "".join(f"{row[kind]:>9.3f}+-{row[f'{kind} +-']:.2f}" for kind in kinds)
        print(f"{names}{figures}{row['ms']:>10.2f}")


if __name__ == "__main__":
    main()
