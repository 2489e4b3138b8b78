"""Groups of classes whose scores are summed: what a picture shows, where the network cannot say which kind of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

Groups = dict[str, tuple[int, ...]]
"""Class indexes by the group's name, rising."""


def read_groups(path: Path, labels: Sequence[str]) -> Groups:
    """Read a file of groups.

    It is a JSON list of levels, from narrow to broad; a level maps each group's name to its members, which are
    class names, or groups of the levels before. Within a level the groups are disjoint.

    Args:
        path: The file.
        labels: Class names by index.

    Raises:
        ValueError: A member is neither a class nor a group of an earlier level, a group has the name of something
            else, or two groups of one level share a class.
    """
    known: Groups = {label: (index,) for index, label in enumerate(labels)}
    groups: Groups = {}
    for level in json.loads(path.read_text("utf-8")):
        expanded = {name: _expanded(name, members, known) for name, members in level.items()}
        _check(expanded, known, labels)
        known |= expanded
        groups |= expanded
    return groups


def _expanded(name: str, members: Sequence[str], known: Groups) -> tuple[int, ...]:
    if unknown := [member for member in members if member not in known]:
        raise ValueError(f"the group {name!r} has members that are no classes: {', '.join(unknown)}")
    return tuple(sorted(index for member in members for index in known[member]))


def _check(level: Groups, known: Groups, labels: Sequence[str]) -> None:
    if taken := sorted(level.keys() & known.keys()):
        raise ValueError(f"groups have names that are taken: {', '.join(taken)}")
    owner: dict[int, str] = {}
    for name, indexes in level.items():
        for index in indexes:
            if index in owner:
                raise ValueError(f"{labels[index]!r} is in two groups of one level: {owner[index]!r} and {name!r}")
            owner[index] = name
