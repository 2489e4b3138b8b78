"""Who may ask, and how much: keys and their quotas, the same over REST and gRPC."""

from __future__ import annotations

import ipaddress
import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.errors import render
from gateway.queueing.pace import Pace
from gateway.workers import place
from gateway.workers.place import Quotas, SharedUse
from reeltag.errors import InvalidOption, Overloaded, ReeltagError, Unauthorized
from reeltag.keys import ApiKey, KeyFile
from reeltag.priority import Priority
from reeltag.settings import Settings

_log: Final = logging.getLogger(__name__)
BURST_SECONDS: Final = 2.0
"""Of its images a second, a key that was quiet may send as many at once."""
_SCHEME: Final = "bearer "
GUARDED: Final = ("/v1/", "/metrics")
"""Paths that need a key begin with one of these; health, readiness and the documentation are open."""


@dataclass
class Use:
    """What a key has left; of several workers' together, `workers.place.SharedUse` has the same."""

    images: float
    """May be sent now; below 0 after a request that was larger than what was left."""
    at: float
    requests: int = 0
    """In work."""
    pace: Pace = field(default_factory=Pace)
    """Of the requests."""

    def locked(self) -> AbstractContextManager[None]:
        """Alone for the block: nobody else counts here."""
        return nullcontext()

    def begin(self) -> None:
        """One more request is in work."""
        self.requests += 1

    def end(self) -> None:
        """One less is."""
        self.requests -= 1


class Caller:
    """Somebody who may ask; made by `Access.admitted`."""

    def __init__(
        self,
        tenant: str,
        rate: float | None,
        use: Use | SharedUse,
        clock: Callable[[], float],
        priority: Priority = Priority.INTERACTIVE,
        check: Callable[[], None] = lambda: None,
        owner: str = "",
    ) -> None:
        self.tenant = tenant
        self.owner = owner
        """Whose jobs and uploads these are; empty where no keys are asked for."""
        self._rate = rate
        self._use = use
        self._clock = clock
        self._priority = priority
        self._check = check

    def priority(self, said: str | None) -> Priority:
        """Priority of a request.

        Args:
            said: Header or metadata of the request; None or empty takes the key's.

        Raises:
            InvalidOption: It is none.
        """
        return Priority.parse(said) if said else self._priority

    def wait_seconds(self, images: int) -> float:
        """In how many seconds so many images may be sent: a bucket that fills up evenly (Turner, 1986)."""
        if self._rate is None:
            return 0.0
        with self._use.locked():
            return self._wait_seconds(images)

    def _wait_seconds(self, images: int) -> float:
        assert self._rate is not None
        use, now = self._use, self._clock()
        use.images = min(burst(self._rate), use.images + (now - use.at) * self._rate)
        use.at = now
        # A request larger than the bucket would never be taken, so one image that is left lets it in, on credit.
        return max(0.0, (min(images, 1) - use.images) / self._rate)

    def check(self) -> None:
        """See whether the key is still good, in the middle of a long answer.

        Raises:
            Unauthorized: It was revoked.
        """
        self._check()

    def take(self, images: int) -> None:
        """Count the images of a request, before they are tagged.

        Raises:
            Overloaded: They are more than the key may send now.
            Unauthorized: The key was revoked meanwhile, as in the middle of a stream.
        """
        self._check()
        if self._rate is None:
            return
        with self._use.locked():
            if (seconds := self._wait_seconds(images)) > 0:
                text = f"this key may send {self._rate:g} images a second"
                raise Overloaded(text, retry_after_seconds=math.ceil(seconds))
            self._use.images -= images


def burst(rate: float) -> float:
    """Images that a key of so many images a second may send at once after it was quiet."""
    return max(1.0, rate * BURST_SECONDS)


class Access:
    """Admits callers by their keys.

    Args:
        keys: Those that are good; None admits everybody.
        clock: Seconds.
    """

    def __init__(self, keys: KeyFile | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._keys = keys
        self._clock = clock
        self._uses: dict[str, Use | SharedUse] = {}
        worker = place.current
        self._quotas = Quotas(worker.folder, worker.index) if worker is not None and keys is not None else None

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
            yield Caller("anonymous", None, Use(0, 0), self._clock)
            return
        key = self._key(authorization)
        use = self._uses.get(key.id)
        if use is None:
            use = self._uses[key.id] = self._first_use(key)
        with use.locked():
            if key.concurrent_requests is not None and use.requests >= key.concurrent_requests:
                text = f"{use.requests} requests of this key are in work, which are all that it may have"
                raise Overloaded(text, retry_after_seconds=use.pace.wait(1, self._clock()))
            use.begin()
        use.pace.begin(self._clock())
        try:
            check = partial(self._check_still_good, key.id)
            yield Caller(key.tenant, key.images_per_second, use, self._clock, key.priority, check, key.tenant)
        finally:
            with use.locked():
                use.end()
                left = use.requests
            use.pace.done(1, self._clock(), more=left > 0)

    def _first_use(self, key: ApiKey) -> Use | SharedUse:
        images, now = burst(key.images_per_second or 0), self._clock()
        shared = self._quotas.use(key.id, images, now) if self._quotas is not None else None
        return shared or Use(images, now)

    def _check_still_good(self, key_id: str) -> None:
        assert self._keys is not None
        if not self._keys.is_good(key_id):
            raise Unauthorized("the key was revoked; ask the operator for another")

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


class KeyMiddleware:
    """Lets requests pass whose key is good; the routes find `request.state.caller`."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or not scope["path"].startswith(GUARDED):
            await self._app(scope, receive, send)
            return
        admitted = self._access.admitted(Headers(scope=scope).get("authorization", ""))
        try:
            caller = admitted.__enter__()
        except ReeltagError as error:
            await render(error)(scope, receive, send)
            return
        try:
            scope.setdefault("state", {})["caller"] = caller
            await self._app(scope, receive, send)
        finally:
            admitted.__exit__(None, None, None)


def check_openness(settings: Settings) -> None:
    """See to it that nobody opens the service to a network by mistake.

    Raises:
        InvalidOption: It listens beyond this machine, without keys, and nobody said that it should.
    """
    if settings.keys_file is None and not settings.anonymous and not _is_loopback(settings.host):
        raise InvalidOption(
            f"on {settings.host} everybody who reaches this machine could ask: make keys with `reeltag keys create "
            "TENANT --keys-file FILE` and give --keys-file FILE, or say --anonymous"
        )


def warn_of_openness(settings: Settings) -> None:
    """Say in the log what others on the network could read."""
    if settings.keys_file is not None and settings.tls_cert is None and not _is_loopback(settings.host):
        _log.warning(
            "keys travel in the clear to %s: give --tls-cert and --tls-key, or see to it that only a proxy with TLS "
            "reaches this address",
            settings.host,
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return host == "localhost"
