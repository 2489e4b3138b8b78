"""How messages are signed, for who sends them and for who receives them; also on a device with Python 3.8.

A message carries `Reeltag-Timestamp`, seconds since 1970, and `Reeltag-Signature`, `v1=` and the hexadecimal
HMAC-SHA256 (RFC 2104) of the timestamp, a full stop and the body, by the receiver's secret.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from typing import Final

TIMESTAMP_HEADER: Final = "Reeltag-Timestamp"
SIGNATURE_HEADER: Final = "Reeltag-Signature"
DELIVERY_HEADER: Final = "Reeltag-Delivery"
"""Names the message: one that comes again has the same."""
TOLERANCE_SECONDS: Final = 300.0
"""How old a message may be; older ones could be repeated by who has overheard them."""
_SCHEME: Final = "v1="


def signature(secret: str, timestamp: int, body: bytes) -> str:
    """Value of the header that signs a message.

    Args:
        secret: Of its receiver.
        timestamp: When it is sent, seconds since 1970.
        body: Of the request, as it is on the wire.
    """
    signed = b"%d." % timestamp + body
    return _SCHEME + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


def verify(secret: str, timestamp: str, signed: str, body: bytes, *, now: float | None = None) -> bool:
    """Whether a message is ours and fresh.

    Args:
        secret: By `GET /v1/webhooks/secret`.
        timestamp: Header `Reeltag-Timestamp`.
        signed: Header `Reeltag-Signature`.
        body: Of the request, as it came, not parsed.
        now: Seconds since 1970; None takes the clock's.
    """
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) < 20):
        return False
    if abs((time.time() if now is None else now) - int(timestamp)) > TOLERANCE_SECONDS:
        return False
    return hmac.compare_digest(signature(secret, int(timestamp), body).encode(), signed.encode())
