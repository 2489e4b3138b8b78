"""What the Dockerfiles say, read as far as these tests need it."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
_PIP = re.compile(r"pip install (.*?)(?: && |$)")
_LEFT_OUT = re.compile(r"grep -vE '\^\((.*?)\)=='")


@dataclass
class Stage:
    """One stage, with what it has of those that it stands on."""

    name: str
    base: str
    """The image that the first of them stands on."""
    environment: dict[str, str] = field(default_factory=dict)
    folder: str = "/"
    user: str = "0"
    command: list[str] = field(default_factory=list)
    health_check: list[str] = field(default_factory=list)
    ports: list[str] = field(default_factory=list)
    copied: list[tuple[str, str]] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)

    @property
    def distributions(self) -> set[str]:
        """What pip installs, with what that needs; `tensorrt-rtx` stands for NVIDIA's TensorRT."""
        wanted: set[str] = set()
        for run in self.runs:
            left_out = {name for names in _LEFT_OUT.findall(run) for name in names.split("|")}
            for line in _PIP.findall(run):
                wanted |= {name for name in _named(line) if name not in left_out}
        wanted = {"tensorrt-rtx" if name == "tensorrt-cu12-bindings" else name for name in wanted}
        return _closure(wanted)


def stages(dockerfile: Path) -> dict[str, Stage]:
    """The stages of a Dockerfile by name."""
    found: dict[str, Stage] = {}
    stage = Stage("", "")
    for keyword, rest in _instructions(dockerfile.read_text()):
        match keyword:
            case "FROM":
                image, _, name = rest.partition(" AS ")
                of = found.get(image)
                stage = Stage(name, of.base if of else image)
                if of:
                    stage.environment, stage.folder, stage.user = dict(of.environment), of.folder, of.user
                    stage.command, stage.health_check = of.command, of.health_check
                    stage.ports, stage.copied, stage.runs = list(of.ports), list(of.copied), list(of.runs)
                found[name] = stage
            case "ENV":
                stage.environment |= dict(word.split("=", 1) for word in shlex.split(rest))
            case "WORKDIR":
                stage.folder = rest
            case "USER":
                stage.user = rest
            case "CMD":
                stage.command = json.loads(rest)
            case "HEALTHCHECK":
                stage.health_check = json.loads(rest.partition("CMD ")[2])
            case "EXPOSE":
                stage.ports += rest.split()
            case "COPY":
                *sources, target = rest.split()
                stage.copied += [(source, target) for source in sources]
            case "RUN":
                stage.runs.append(rest)
            case _:
                raise AssertionError(f"{dockerfile} uses {keyword}, which these tests do not read")
    return found


def _instructions(text: str) -> Iterator[tuple[str, str]]:
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    for line in re.sub(r"\\\n\s*", "", lines).splitlines():
        if line.strip():
            keyword, _, rest = line.partition(" ")
            yield keyword, rest.strip()


def _named(line: str) -> set[str]:
    """Names of the distributions that a pip command line installs."""
    words, names = iter(shlex.split(line)), set()
    for word in words:
        if word == "--constraint":
            next(words)
        elif word == "-r":
            lock = (ROOT / "requirements" / Path(next(words)).name.replace("gateway", "serve")).read_text()
            names |= {entry.split("==")[0] for entry in lock.splitlines()}
        elif not word.startswith("-") and word != ".":
            names.add(Requirement(word).name)
    return names


def _closure(names: set[str]) -> set[str]:
    """With what they need in turn, as it is installed here."""
    found: set[str] = set()
    waiting = {_plain(name) for name in names}
    while waiting:
        name = waiting.pop()
        found.add(name)
        try:
            needs = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        needed = [Requirement(need) for need in needs]
        waiting |= {_plain(need.name) for need in needed if not need.marker or need.marker.evaluate({"extra": ""})}
        waiting -= found
    return found


def denied_modules(distributions: set[str]) -> list[str]:
    """Modules that are installed here and in an image with these distributions are not."""
    return sorted(
        module
        for module, owners in metadata.packages_distributions().items()
        if not {_plain(owner) for owner in owners} & (distributions | {"pip", "setuptools", "reeltag"})
    )


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
