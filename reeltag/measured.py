"""What was measured of a network; in its passport, in its model card, and in what clients get."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict


class Measured(BaseModel):
    """What was measured of a network as it is served."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    accuracy: dict[str, float] = {}
    """By metric, such as `AP`, `agreement top-1` or `mIoU of fp32`, in percent."""
    pictures: int = 0
    """That it was measured on."""
    through: Literal["Triton", "OpenVINO", ""] = ""
    """What ran the artefact: a server as in service, or OpenVINO its graph where no server could run it."""
    images_per_second: float | None = None
    """Of the network alone, on all cores of `machine`."""
    machine: str = ""

    def __str__(self) -> str:
        said = []
        for metric, value in self.accuracy.items():
            before = self.accuracy.get(f"{metric} of fp32")
            if not metric.endswith(" of fp32"):
                said.append(f"{metric} {value:.1f}" + (f" (fp32 {before:.1f})" if before is not None else ""))
        if said and self.pictures:
            said[-1] += f" on {self.pictures} pictures"
        if said and self.through == "OpenVINO":
            said[-1] += " (its graph, in OpenVINO)"
        if self.images_per_second:
            said.append(f"{self.images_per_second:g} images/s")
        return ", ".join(said)
