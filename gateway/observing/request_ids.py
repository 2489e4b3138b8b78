"""The id of a request: the client's where it sends a sound one, else a new one."""

from __future__ import annotations

import re
import uuid
from typing import Final

HEADER: Final = "x-request-id"
"""Of requests and answers over REST, and key of gRPC metadata."""
_SOUND: Final = re.compile(r"[A-Za-z0-9._:@+/=-]{1,128}", re.ASCII)
"""Nothing that could end a line of a log, or be taken for a part of it."""


def request_id_of(sent: str | None) -> str:
    """The id that was sent where it is 1 to 128 letters, digits and `. _ : @ + / = -`; without one, a new one."""
    return sent if sent is not None and _SOUND.fullmatch(sent) else uuid.uuid4().hex


def batch_id() -> str:
    """A new id of a request to Triton that carries images of several requests, such as `batch-2f1c...`."""
    return f"batch-{uuid.uuid4().hex}"
