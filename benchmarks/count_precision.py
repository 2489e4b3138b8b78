"""How right the number of objects is: the files of `reeltag tag PHOTOS --out DIR` against COCO's boxes.

    python -m benchmarks.count_precision DIR instances_a.json instances_b.json

Of every label whose best box scores 0.5, which makes it a tag, the boxes from each threshold on are counted. Crowds,
and labels of which COCO has no box, are left out. Single pictures: what the smoothing of a video's counts adds is not
seen.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

TAGGED: Final = 0.5
THRESHOLDS: Final = (0.4, 0.45, 0.5, 0.55, 0.6)

Counts = list[tuple[int, int]]
"""Of each label of each photograph how many were counted, and how many there are."""


def truth_of(annotations: Iterable[Path]) -> dict[str, Counter[str]]:
    """How many objects of each category there are, by the photograph's stem; of crowds -1."""
    truth: dict[str, Counter[str]] = {}
    for path in annotations:
        document = json.loads(path.read_text("utf-8"))
        names = {category["id"]: category["name"] for category in document["categories"]}
        stems = {image["id"]: Path(image["file_name"]).stem for image in document["images"]}
        truth |= {stem: Counter() for stem in stems.values()}
        for box in document["annotations"]:
            found, name = truth[stems[box["image_id"]]], names[box["category_id"]]
            found[name] = -1 if box.get("iscrowd") or found[name] < 0 else found[name] + 1
    return truth


def counted(folder: Path, truth: dict[str, Counter[str]], threshold: float) -> Counts:
    """What is counted from a threshold on."""
    counts: Counts = []
    for photo, there in sorted(truth.items()):
        (result,) = folder.rglob(f"{photo}.*.tags.json")
        boxes = [(each["label"], each["score"]) for each in json.loads(result.read_text("utf-8"))["detections"]]
        for label in sorted({label for label, score in boxes if score >= TAGGED}):
            if there[label] > 0:
                seen = sum(name == label and score >= threshold for name, score in boxes)
                counts.append((max(1, seen), there[label]))
    return counts


def line(threshold: float, counts: Counts) -> str:
    """A row of the table."""
    right, over = sum(a == b for a, b in counts), sum(a > b for a, b in counts)
    share = [right / len(counts), over / len(counts), 1 - (right + over) / len(counts)]
    several, found = [a <= b for a, b in counts if a > 1], [a > 1 for a, b in counts if b > 1]
    cells = [f"{each:.0%}" for each in share] + [_of(several), _of(found)]
    return f"| {threshold:g} | {' | '.join(cells)} |"


def _of(hits: Sequence[bool]) -> str:
    return f"{sum(hits)} of {len(hits)}, {sum(hits) / max(1, len(hits)):.0%}"


def main() -> None:
    """Print the table."""
    folder, *annotations = map(Path, sys.argv[1:])
    truth = truth_of(annotations)
    print("| threshold | right | too many | too few | several, and so many are there | several are there, and found |")
    print("|---|---|---|---|---|---|")
    for threshold in THRESHOLDS:
        print(line(threshold, counted(folder, truth, threshold)))


if __name__ == "__main__":
    main()
