"""What the pool and its workers say to each other, over sockets that keep messages apart."""

from __future__ import annotations

import struct
from typing import Final

JOB: Final = struct.Struct("<QQ?I")
"""To a worker: size of its desk, bytes of the file on it, whether the picture may be large, and views as a bit mask."""
DONE: Final = b"D"
"""First byte of an answer; the geometry of each view follows, float32 `(6,)`."""
FAILED: Final = b"F"
"""First byte of an answer; `code: text` follows."""
TOO_LARGE: Final = b"L"
"""First byte of an answer to a picture that was taken for an ordinary one."""
STAYS: Final = b"S"
"""Second byte of an answer: the worker waits for its next job."""
LEAVES: Final = b"E"
"""Second byte of an answer: the worker ends."""
READY: Final = b"ready"
"""From the nursery, once."""
MAX_BYTES: Final = 4096
"""Of a message."""
