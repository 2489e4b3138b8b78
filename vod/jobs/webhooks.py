"""Sends the messages of webhooks: again, ever later, where their receiver does not take them."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final

import httpcore
import httpx

from reeltag import __version__
from reeltag.errors import DatabaseAway, InputError, ReeltagError
from reeltag.fetching.url_hosts import UrlHosts, target_of
from reeltag.fetching.web import CheckedNetwork, Resolve, addresses_of
from reeltag.settings import Settings
from reeltag.signatures import DELIVERY_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, signature
from reeltag.webhooks import secret_of
from vod.jobs import deliveries
from vod.jobs.bells import Ear
from vod.jobs.database import Database
from vod.jobs.deliveries import Due
from vod.jobs.job import DeliveryAttempt

WAITS_SECONDS: Final = (5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0, 10800.0, 21600.0, 43200.0)
"""After each try that failed; after the last one it is given up, about a day after the first."""
SENDING_SECONDS: Final = 15.0
"""For one try, from the look for the host's address to the status of its answer."""
LEASE_SECONDS: Final = 60.0
"""A message whose sender died is sent by another one after this."""
SENDERS: Final = 4
"""Messages that a worker sends at one time: a receiver that is slow does not keep the others waiting."""
IDLE_SECONDS: Final = 5.0
"""Between two looks for a message that is due again, where nobody calls."""
_log: Final = logging.getLogger(__name__)


class Webhooks:
    """Sends what is due.

    Args:
        settings: Secrets, and hosts that may be at private addresses.
        database: Where the messages are.
        resolve: Finds a host's addresses.
    """

    def __init__(self, settings: Settings, database: Database, resolve: Resolve = addresses_of) -> None:
        self._settings = settings
        self._database = database
        self._private = UrlHosts(settings.webhook_hosts)
        self._plain = httpcore.AnyIOBackend()
        self._checked = CheckedNetwork(self._plain, resolve)
        self._ssl_context = httpx.create_ssl_context()

    async def run(self, ear: Ear) -> None:
        """Send until cancelled; what was being sent then is sent again later.

        Args:
            ear: Called when there may be something to send.
        """
        sending = set[asyncio.Future[None]]()
        try:
            while True:
                due = await self._due() if len(sending) < SENDERS else None
                if due is not None:
                    sending.add(asyncio.ensure_future(self._send_logged(due)))
                    continue
                waiting = asyncio.ensure_future(ear.wait(IDLE_SECONDS))
                await asyncio.wait([waiting, *sending], return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
                sending = {each for each in sending if not each.done()}
        finally:
            for each in sending:
                each.cancel()
            await asyncio.gather(*sending, return_exceptions=True)

    async def _due(self) -> Due | None:
        try:
            return await asyncio.to_thread(deliveries.claim, self._database, LEASE_SECONDS)
        except DatabaseAway:
            return None  # the worker says so
        except Exception:
            _log.exception("a webhook")
            return None

    async def _send_logged(self, due: Due) -> None:
        try:
            await self._send(due)
        except DatabaseAway:
            pass  # the worker says so, and the message is sent again
        except Exception:
            _log.exception("a webhook")

    async def send_one(self) -> bool:
        """Send one message that is due; whether there was one.

        Raises:
            DatabaseAway: The database is.
        """
        due = await asyncio.to_thread(deliveries.claim, self._database, LEASE_SECONDS)
        if due is None:
            return False
        await self._send(due)
        return True

    async def _send(self, due: Due) -> None:
        at = time.time()
        try:
            status = await asyncio.wait_for(self._post(due, int(at)), SENDING_SECONDS)
            error = "" if 200 <= status < 300 else f"the receiver answered {status}"
        except InputError as problem:
            status, error = None, str(problem)
        except ReeltagError as problem:
            _log.warning("a webhook: %s", problem)
            status, error = None, "a fault of the server that sends it; its log says which"
        except asyncio.TimeoutError:
            status, error = None, f"no answer within {SENDING_SECONDS:g} seconds"
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, OSError) as problem:
            status, error = None, f"no answer ({type(problem).__name__})"
        attempt = DeliveryAttempt(at=at, status=status, error=error)
        again = WAITS_SECONDS[due.attempt - 1] if due.attempt <= len(WAITS_SECONDS) else None
        await asyncio.to_thread(
            deliveries.note, self._database, due.id, attempt, not error, None if not error else again
        )

    async def _post(self, due: Due, timestamp: int) -> int:
        """Status of the receiver's answer; redirects are not followed: the address is to be that of the receiver."""
        target, body = target_of(due.url), due.body.encode()
        network = self._plain if self._private.covers(target) else self._checked
        secret = await asyncio.to_thread(secret_of, self._settings, due.tenant)
        headers = {
            "Host": _host(target.host, target.port, target.scheme),
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "User-Agent": f"reeltag/{__version__}",
            DELIVERY_HEADER: due.id,
            "Reeltag-Event": due.event,
            TIMESTAMP_HEADER: str(timestamp),
            SIGNATURE_HEADER: signature(secret, timestamp, body),
        }
        url = httpcore.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path)
        sent = [(name.encode(), value.encode()) for name, value in headers.items()]
        pool = httpcore.AsyncConnectionPool(self._ssl_context, max_keepalive_connections=0, network_backend=network)
        async with pool, pool.stream("POST", url, headers=sent, content=body) as answer:
            return int(answer.status)  # of its body nothing is of use


def _host(name: str, port: int, scheme: str) -> str:
    named = f"[{name}]" if ":" in name else name
    return named if port == {"http": 80, "https": 443}[scheme] else f"{named}:{port}"
