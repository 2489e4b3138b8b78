"""Who may ask, and how much: keys and their quotas, the same over REST and gRPC."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from reeltag.errors import Overloaded, Unauthorized
from reeltag.keys import ApiKey, KeyFile

BURST_SECONDS: Final = 2.0
"""Of its images a second, a key that was quiet may send as many at once."""
_SCHEME: Final = "bearer "


@dataclass
class _Use:
    """What a key has left."""

    images: float
    """May be sent now; below 0 after a request that was larger than what was left."""
    at: float
    requests: int = 0
    """In work."""


@dataclass
class Caller:
    """Somebody who may ask."""

    tenant: str
    take: Callable[[int], None] = field(repr=False)
    """Called with the number of images of a request, before they are tagged; raises `Overloaded` beyond the quota."""


class Access:
    """Admits callers by their keys.

    Args:
        keys: Those that are good; None admits everybody.
        clock: Seconds.
    """

    def __init__(self, keys: KeyFile | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._keys = keys
        self._clock = clock
        self._uses: dict[str, _Use] = {}

    @contextmanager
    def admitted(self, authorization: str) -> Iterator[Caller]:
        """The caller, for as long as the request takes.

        Args:
            authorization: Of the header or the metadata, such as `Bearer rt_...`; empty without one.

        Raises:
            Unauthorized: The key is missing, unknown or revoked.
            Overloaded: It has as many requests in work as it may.
        """
        if self._keys is None:
            yield Caller("anonymous", lambda _: None)
            return
        key = self._key(authorization)
        use = self._uses.setdefault(key.id, _Use(self._burst(key), self._clock()))
        if key.concurrent_requests is not None and use.requests >= key.concurrent_requests:
            raise Overloaded(f"{use.requests} requests of this key are in work, which are all that it may have")
        use.requests += 1
        try:
            yield Caller(key.tenant, lambda images: self._take(key, use, images))
        finally:
            use.requests -= 1

    def _key(self, authorization: str) -> ApiKey:
        assert self._keys is not None
        if not authorization:
            raise Unauthorized("a key is needed; send it as `Authorization: Bearer rt_...`")
        presented = authorization[len(_SCHEME) :].strip() if authorization.lower().startswith(_SCHEME) else ""
        key = self._keys.find(presented)
        if key is None:
            # The same words for every kind of wrong key: they must not help to find a right one.
            raise Unauthorized("the key is not known here, or was revoked; ask the operator for another")
        return key

    def _take(self, key: ApiKey, use: _Use, images: int) -> None:
        """Count images against the key's rate: a bucket that fills up evenly (Turner, 1986, the leaky bucket)."""
        if key.images_per_second is None:
            return
        now = self._clock()
        use.images = min(self._burst(key), use.images + (now - use.at) * key.images_per_second)
        use.at = now
        # A request larger than the bucket would never be taken, so one image that is left lets it in, on credit.
        if use.images < min(images, 1):
            wait = (1 - use.images) / key.images_per_second
            raise Overloaded(
                f"this key may send {key.images_per_second:g} images a second", retry_after_seconds=math.ceil(wait)
            )
        use.images -= images

    @staticmethod
    def _burst(key: ApiKey) -> float:
        return max(1.0, (key.images_per_second or 0) * BURST_SECONDS)
