"""A user's taxonomy: which labels are kept, from which score on, and what categories they make.

The file is JSON, in the shape of the IAB's Content Taxonomy: categories with an id, the id of their parent, a name, and
the labels of our networks that belong to them. `docs/tags.md` describes it; `docs/taxonomies/` has an example.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from reeltag.errors import InvalidOption
from vod.thresholds import Hysteresis

MAX_BYTES: Final = 4 << 20
"""Of a file."""
LOW_SHARE: Final = 0.8
"""Of `high`, where a threshold names no `low`."""
MAX_DEPTH: Final = 32
"""Most levels of categories."""
_MAX_TOLD: Final = 5
"""Most mistakes that an error names."""


class Category(BaseModel):
    """One category."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(min_length=1)
    parent: str | None = None
    """Id of the category above it; None at the top."""
    name: str = Field(min_length=1)
    labels: tuple[str, ...] = ()
    """Of our networks: classes and groups that belong to it."""


class _Threshold(BaseModel):
    model_config = ConfigDict(extra="forbid")

    high: float = Field(ge=0, le=1, allow_inf_nan=False)
    low: float | None = Field(None, ge=0, le=1, allow_inf_nan=False)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1)
    source: str = ""
    categories: tuple[Category, ...] = ()
    allow: tuple[str, ...] | None = None
    thresholds: dict[str, float | _Threshold] = {}


@dataclass(frozen=True)
class Taxonomy:
    """What a taxonomy file says; without one, every label is kept at the usual thresholds.

    Args: see `read_taxonomy`, which checks them.
    """

    name: str = ""
    """What its categories' tags name as their model."""
    categories: tuple[Category, ...] = ()
    allowed: frozenset[str] | None = None
    """Labels that are kept; None for all."""
    thresholds: Mapping[str, Hysteresis] = field(default_factory=dict)
    """By label, instead of the usual ones."""
    file: str = ""
    """Name of the file."""
    sha256: str = ""
    """Of the file."""

    def keeps(self, label: str) -> bool:
        """Whether a label of a network stands in results."""
        return self.allowed is None or label in self.allowed

    def uses(self, label: str) -> bool:
        """Whether a label stands in results, or counts for a category."""
        return self.keeps(label) or any(label in category.labels for category in self.categories)

    def hysteresis(self, label: str, usual: Hysteresis) -> Hysteresis:
        """When a label of a video becomes a tag."""
        return self.thresholds.get(label, usual)

    def high(self, label: str, usual: float) -> float:
        """The score from which on a label of a still image is one, 0 to 1."""
        return self.thresholds[label].high if label in self.thresholds else usual

    def low(self, label: str, usual: float) -> float:
        """The score from which on a label of a frame is one, 0 to 1."""
        return self.thresholds[label].low if label in self.thresholds else usual

    def floor(self, usual: float) -> float:
        """The lowest score that any label of a still image needs, 0 to 1."""
        return min([usual, *(each.high for each in self.thresholds.values())])

    def members(self) -> dict[str, frozenset[str]]:
        """Of each category, by its id: its labels and those of all categories below it."""
        found = {category.id: set(category.labels) for category in self.categories}
        parents = {category.id: category.parent for category in self.categories}
        for category in self.categories:
            above = category.parent
            while above is not None:
                found[above] |= set(category.labels)
                above = parents[above]
        return {key: frozenset(labels) for key, labels in found.items()}

    def provenance(self) -> dict[str, str | float | int | bool]:
        """What a result says of the file that took part."""
        return {"taxonomy": self.file, "taxonomy_sha256": self.sha256} if self.sha256 else {}

    def check_labels(self, known: Collection[str]) -> None:
        """See that the networks know every label that is named.

        Raises:
            InvalidOption: They do not; the text names the nearest ones that they know.
        """
        _refuse(
            self.file,
            (
                f"{place} names the label {label!r}, which no served network knows{_nearest(label, known)}"
                for place, label in self._named_labels()
                if label not in known
            ),
        )

    def _named_labels(self) -> Iterator[tuple[str, str]]:
        for number, category in enumerate(self.categories):
            yield from ((f"categories[{number}].labels", label) for label in category.labels)
        yield from (("allow", label) for label in sorted(self.allowed or ()))
        yield from (("thresholds", label) for label in self.thresholds)


def read_taxonomy(path: Path) -> Taxonomy:
    """Read a taxonomy file.

    Raises:
        InvalidOption: It cannot be read, or is none; the text says where it is wrong, and what would be right.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InvalidOption(f"the taxonomy {path} cannot be read: {error.strerror}") from error
    return parse_taxonomy(data, path.name)


def parse_taxonomy(data: bytes, file: str) -> Taxonomy:
    """Take a taxonomy file's content.

    Args:
        data: Of the file.
        file: Its name, for errors and results.

    Raises:
        InvalidOption: As `read_taxonomy`.
    """
    if len(data) > MAX_BYTES:
        raise InvalidOption(f"{file} is larger than {MAX_BYTES:,} bytes, the most that a taxonomy may have")
    try:
        content = _File.model_validate_json(_text(data, file), strict=True)
    except ValidationError as error:
        _refuse(file, dict.fromkeys(_told(each) for each in error.errors(include_url=False)))
        raise
    _refuse(file, chain(_faults_of(content.categories), _faults_of_thresholds(content)))
    return Taxonomy(
        name=content.name,
        categories=content.categories,
        allowed=None if content.allow is None else frozenset(content.allow),
        thresholds={label: _hysteresis(said) for label, said in content.thresholds.items()},
        file=file,
        sha256=hashlib.sha256(data).hexdigest(),
    )


def _text(data: bytes, file: str) -> str:
    """The file's text, which is JSON, with each key once in its object."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        twice = next((key for key, count in Counter(key for key, _ in pairs).items() if count > 1), None)
        if twice is not None:
            raise InvalidOption(f"the taxonomy {file} is wrong: it says {twice!r} twice in one object; say it once")
        return dict(pairs)

    try:
        text = data.decode("utf-8-sig")
        json.loads(text, object_pairs_hook=once)
    except UnicodeDecodeError as error:
        raise InvalidOption(
            f"{file} is no taxonomy: byte {error.start} is no UTF-8; it must be JSON in UTF-8"
        ) from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise InvalidOption(f"{file} is no taxonomy: {where}: {error.msg}; it must be JSON") from error
    except RecursionError as error:
        raise InvalidOption(f"{file} is no taxonomy: it is nested too deeply") from error
    return text


def _told(error: Any) -> str:
    """One of pydantic's errors, in our words."""
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"]).lstrip(".")
    if error["type"] == "extra_forbidden":
        models: dict[str, type[BaseModel]] = {"categories": Category, "thresholds": _Threshold}
        model = models.get(str(error["loc"][0]), _File) if len(error["loc"]) > 1 else _File
        return f"{place} is no field{_nearest(str(error['loc'][-1]), model.model_fields)}"
    if error["type"] == "missing":
        return f"{place} is missing"
    if error["loc"][:1] == ("thresholds",) and len(error["loc"]) > 1:
        return f'thresholds.{error["loc"][1]} must be a number from 0 to 1, or {{"high": 0.6, "low": 0.5}}'
    said = json.dumps(error["input"], ensure_ascii=False, default=str)
    reason = str(error["msg"])
    return f"{place or 'the file'} is {said if len(said) < 80 else said[:77] + '...'}: {reason[0].lower()}{reason[1:]}"


def _faults_of(categories: Sequence[Category]) -> Iterator[str]:
    places: dict[str, int] = {}
    for number, category in enumerate(categories):
        first = places.setdefault(category.id, number)
        if first != number:
            yield f"categories[{number}].id is {category.id!r}, as that of categories[{first}]; ids must differ"
    for number, category in enumerate(categories):
        if category.parent == category.id:
            yield f"categories[{number}] ({category.id!r}) is its own parent; leave `parent` out of a top category"
        elif category.parent is not None and category.parent not in places:
            near = _nearest(category.parent, places)
            yield f"categories[{number}].parent is {category.parent!r}, but no category has that id{near}"
    yield from _faults_above({category.id: category.parent for category in categories})


def _faults_above(parents: Mapping[str, str | None]) -> Iterator[str]:
    """Circles of parents, each once, and what is too deep; whoever is their own parent is told of elsewhere."""
    told: set[str] = set()
    for start in parents:
        way = [start]
        while (above := parents.get(way[-1])) is not None and above not in way and len(way) <= MAX_DEPTH:
            way.append(above)
        if above in way[:-1] and not told & set(way):
            circle = [*way[way.index(above) :], above]
            yield f"the parents of categories go round in a circle: {' -> '.join(circle)}"
        elif len(way) > MAX_DEPTH and not told & set(way):
            yield f"category {start!r} lies below more than {MAX_DEPTH} others"
        else:
            continue
        told.update(way)


def _faults_of_thresholds(content: _File) -> Iterator[str]:
    for label, said in content.thresholds.items():
        if isinstance(said, float) and not 0 <= said <= 1:
            yield f"thresholds.{label} is {said:g}, but must be from 0 to 1"
        elif isinstance(said, _Threshold) and said.low is not None and said.low > said.high:
            yield f"thresholds.{label} has low {said.low:g} above high {said.high:g}; a tag opens at high, holds at low"


def _hysteresis(said: float | _Threshold) -> Hysteresis:
    high = said if isinstance(said, float) else said.high
    low = None if isinstance(said, float) else said.low
    return Hysteresis(high=high, low=round(LOW_SHARE * high, 6) if low is None else low)


def _nearest(text: str, known: Collection[str]) -> str:
    folded = {each.casefold(): each for each in sorted(known)}
    near = [folded[each] for each in get_close_matches(text.casefold(), folded, n=3, cutoff=0.6)]
    return (
        f"; the nearest are {', '.join(map(repr, near))}" if len(near) > 1 else f"; is it {near[0]!r}?" if near else ""
    )


def _refuse(file: str, problems: Iterable[str]) -> None:
    first = list(islice(problems, _MAX_TOLD + 1))
    if first:
        more = "; and more" if len(first) > _MAX_TOLD else ""
        raise InvalidOption(f"the taxonomy {file} is wrong: {'; '.join(first[:_MAX_TOLD])}{more}")
