"""How often the tags of class groups are right: the files of `reeltag tag PHOTOS --out DIR` against COCO's boxes.

    python -m benchmarks.group_precision DIR instances_a.json instances_b.json

A group is only compared where COCO has categories for it. COCO does not annotate everything (a street sign that is no
stop sign, a desk telephone, show jumping), so the list of what it does not confirm is printed, to be looked at.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

THRESHOLDS: Final = (0.4, 0.5, 0.6, 0.7, 0.8)
COCO_OF_GROUP: Final[dict[str, str]] = {
    "airplane": "airplane",
    "animal": "bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe",
    "bag": "backpack,handbag,suitcase",
    "bathroom": "toilet,sink",
    "bear": "bear",
    "bicycle or motorcycle": "bicycle,motorcycle",
    "bird": "bird",
    "boat or ship": "boat",
    "books or library": "book",
    "car, bus or truck": "car,bus,truck",
    "cat": "cat",
    "clock or watch": "clock",
    "computer or screen": "tv,laptop,mouse,keyboard",
    "cow or buffalo": "cow",
    "cup, glass or bottle": "bottle,wine glass,cup",
    "elephant": "elephant",
    "flower or vase": "vase,potted plant",
    "food": "sandwich,hot dog,pizza,donut,cake,banana,apple,orange,broccoli,carrot,bowl",
    "fruit or vegetable": "banana,apple,orange,broccoli,carrot",
    "furniture": "chair,couch,bed,dining table",
    "horse": "horse",
    "indoors": "chair,couch,bed,dining table,toilet,tv,laptop,microwave,oven,sink,refrigerator,book",
    "kitchen": "microwave,oven,toaster,refrigerator,sink",
    "phone": "cell phone",
    "sheep or goat": "sheep",
    "skis or sled": "skis,snowboard",
    "sport": "frisbee,skis,snowboard,surfboard,skateboard,sports ball,baseball bat,baseball glove,tennis racket",
    "street sign or traffic light": "traffic light,stop sign",
    "train or tram": "train",
    "vehicle": "car,bus,truck,bicycle,motorcycle,train,boat,airplane",
}


@dataclass(frozen=True)
class Claim:
    """One group tag of one photograph."""

    photo: str
    group: str
    score: float
    is_confirmed: bool
    """Whether COCO has a box of such a thing in it."""


def categories_by_photo(annotations: Iterable[Path]) -> dict[str, set[str]]:
    """Names of the categories that COCO has boxes of, by the photograph's stem."""
    found: dict[str, set[str]] = {}
    for path in annotations:
        document = json.loads(path.read_text("utf-8"))
        names = {category["id"]: category["name"] for category in document["categories"]}
        stems = {image["id"]: Path(image["file_name"]).stem for image in document["images"]}
        found |= {stem: set() for stem in stems.values()}
        for box in document["annotations"]:
            found[stems[box["image_id"]]].add(names[box["category_id"]])
    return found


def claims(tags_folder: Path, truth: dict[str, set[str]]) -> Iterator[Claim]:
    """The group tags that can be compared."""
    for photo, categories in sorted(truth.items()):
        (result,) = tags_folder.rglob(f"{photo}.*.tags.json")
        for tag in json.loads(result.read_text("utf-8"))["tags"]:
            expected = COCO_OF_GROUP.get(tag["label"])
            # Classes are tagged beside the groups; none has a group's name.
            if expected is not None:
                confirmed = not categories.isdisjoint(expected.split(","))
                yield Claim(photo, tag["label"], tag["score"], confirmed)


def main(tags_folder: Path, annotations: list[Path]) -> None:
    """Print confirmed tags, precision and recall at each threshold, and what was not confirmed."""
    truth = categories_by_photo(annotations)
    made = list(claims(tags_folder, truth))
    there = sum(
        not found.isdisjoint(expected.split(",")) for expected in COCO_OF_GROUP.values() for found in truth.values()
    )
    for threshold in THRESHOLDS:
        kept = [claim for claim in made if claim.score >= threshold]
        right = sum(claim.is_confirmed for claim in kept)
        print(f"{threshold:.1f}: {right} of {len(kept)} confirmed, {right / max(len(kept), 1):.3f};", end=" ")
        print(f"recall {right / there:.3f}")
    for group in COCO_OF_GROUP:
        of_group = [claim for claim in made if claim.group == group]
        if of_group:
            print(f"{group}: {sum(claim.is_confirmed for claim in of_group)} of {len(of_group)}")
    for claim in made:
        if not claim.is_confirmed:
            print(f"not confirmed: {claim.photo} {claim.group} {claim.score:.2f} {sorted(truth[claim.photo])}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(argument) for argument in sys.argv[2:]])
