"""Names of networks that a user chooses: of folders in the model repository, so none that is there already."""

from __future__ import annotations

import itertools
import re
from typing import Final

from exporters.catalogue.entries import CHECKPOINT_MODELS, MODELS
from reeltag.contract import AREAS, DECODE, NMS_OF_KIND, SHOTS_ENSEMBLE, Task, image_ensemble
from reeltag.errors import InvalidOption

_ENSEMBLES: Final = [
    image_ensemble(tasks) for count in range(1, len(Task) + 1) for tasks in itertools.combinations(Task, count)
]
_TAKEN: Final = {
    *(DECODE, *NMS_OF_KIND.values(), AREAS, SHOTS_ENSEMBLE),
    *_ENSEMBLES,
    *(task.frames_ensemble for task in Task),
}
"""Of folders of the model repository that are no networks."""
_NAME: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"


def check_own_name(name: str) -> None:
    """Refuse a name that a network of a user cannot have.

    Raises:
        InvalidOption: It is one of the catalogue, or of a part of what is served, or names no folder.
    """
    if name in MODELS | CHECKPOINT_MODELS:
        raise InvalidOption(f"{name} is a network of the catalogue; give yours another name")
    if name in _TAKEN or name.partition(".")[0] in _TAKEN:  # `detect.NETWORK` is the ensemble of that network
        raise InvalidOption(f"{name} is a part of what is served already; give your network another name")
    if not re.fullmatch(_NAME, name):
        raise InvalidOption(
            f"{name!r} cannot name a folder of the model repository; letters, digits, '.', '_' and '-' can, up to 64"
        )
