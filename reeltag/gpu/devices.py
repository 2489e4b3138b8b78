"""The GPUs that CUDA programs of this process's environment see."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from reeltag.gpu import nvml
from reeltag.gpu.nvml import Nvml, NvmlError, NvmlLibrary

VISIBLE_DEVICES: Final = "CUDA_VISIBLE_DEVICES"
"""Indexes or UUIDs, with commas; empty hides every GPU (NVIDIA's "CUDA C++ Programming Guide")."""


@dataclass(frozen=True)
class Gpu:
    """An NVIDIA GPU."""

    index: int
    """Among those that CUDA programs see: what CUDA calls its device."""
    uuid: str
    name: str
    """Such as `NVIDIA H200`."""
    compute_capability: tuple[int, int]
    """Major and minor number, such as `(9, 0)`."""
    total_bytes: int
    free_bytes: int
    """As it is now; other programs take of it."""

    @property
    def sm(self) -> str:
        """Its compute capability as builders of plans name it, such as `SM90`."""
        return "SM{}{}".format(*self.compute_capability)


@dataclass(frozen=True)
class Cuda:
    """What the driver says."""

    gpus: tuple[Gpu, ...] = ()
    """Those that CUDA programs see, in their order; none where `problem` says why."""
    driver: str = ""
    """Version of the driver, such as `580.82.07`; empty where there is none."""
    version: tuple[int, int] = (0, 0)
    """Newest CUDA that the driver runs."""
    problem: str = ""
    """Why no GPU can be used; empty where one can."""

    @property
    def gpu(self) -> Gpu | None:
        """The first one, which reeltag uses."""
        return self.gpus[0] if self.gpus else None


def look(environment: Mapping[str, str] = os.environ, library: NvmlLibrary | None = None) -> Cuda:
    """Ask the driver; never raises, because a machine without a GPU is no error.

    Args:
        environment: Of the CUDA programs in question.
        library: NVML; the driver's own without it.
    """
    try:
        with nvml.started(library or nvml.load()) as driver:
            return _seen(driver, environment.get(VISIBLE_DEVICES))
    except OSError:
        return Cuda(problem="this machine has no NVIDIA driver")
    except NvmlError as error:
        return Cuda(problem=f"the NVIDIA driver does not answer: {error}")


def _seen(driver: Nvml, visible: str | None) -> Cuda:
    version, cuda, count = driver.driver(), driver.cuda(), driver.count()
    if count == 0:
        return Cuda((), version, cuda, "this machine has an NVIDIA driver and no GPU")
    gpus = tuple(_gpu(driver, index, which) for index, which in enumerate(_chosen(driver, visible, count)))
    if not gpus:
        return Cuda((), version, cuda, f"{VISIBLE_DEVICES}={visible} hides every GPU of this machine")
    return Cuda(gpus, version, cuda)


def _gpu(driver: Nvml, index: int, which: int | str) -> Gpu:
    device = driver.device(which)
    total, free = driver.memory(device)
    return Gpu(index, driver.uuid(device), driver.name(device), driver.compute_capability(device), total, free)


def _chosen(driver: Nvml, visible: str | None, count: int) -> Iterator[int | str]:
    """Index or UUID of each GPU that is seen: as CUDA does, up to the first entry that names none."""
    if visible is None:
        yield from range(count)
        return
    uuids = [driver.uuid(driver.device(index)) for index in range(count)]
    for entry in (part.strip() for part in visible.split(",")):
        if entry.isdecimal() and int(entry) < count:
            yield int(entry)
        elif entry.startswith("MIG-"):
            yield entry
        elif entry.startswith("GPU-") and (found := [one for one in uuids if one.startswith(entry)]):
            yield found[0]
        else:
            return
