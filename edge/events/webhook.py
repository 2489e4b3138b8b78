"""Events to an HTTP address, signed as `reeltag.signatures` says."""

from __future__ import annotations

import hashlib
import http.client
import ssl
import time
from pathlib import Path
from typing import Any, Mapping, Sequence
from urllib.parse import urlsplit

from reeltag.errors import InvalidOption
from reeltag.signatures import DELIVERY_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, signature

from edge.events.delivery import Refused, Undelivered
from edge.events.spool import Row, Spool

_ANSWER_SECONDS = 20.0
_REFUSALS = (400, 413, 415, 422)
"""The body is not taken. Other errors are about the address or the password, which people can put right."""


class WebhookSink:
    """An HTTP address that takes lines of JSON by POST.

    `Reeltag-Delivery` is the same for the same lines; any 2xx means that the receiver has them. Redirects are not
    followed.

    Args:
        settings: `events.webhook` of the configuration.
        folder: Where relative names of files begin.

    Raises:
        InvalidOption: A file cannot be read, or the secret is too short.
    """

    name = "webhook"
    batch = 100

    def __init__(self, settings: Mapping[str, Any], folder: Path) -> None:
        self._url = urlsplit(settings["url"])
        path = folder / settings["secret_file"]
        try:
            self._secret = path.read_text(encoding="utf-8").strip()
            ca_file = str(folder / settings["ca_file"]) if "ca_file" in settings else None
            self._tls = ssl.create_default_context(cafile=ca_file) if self._url.scheme == "https" else None
        except (OSError, ssl.SSLError) as error:
            raise InvalidOption(f"events.webhook: a file cannot be read: {error}") from error
        if len(self._secret) < 16:
            raise InvalidOption(f"events.webhook.secret_file: {path} has fewer than 16 characters")

    def start(self, spool: Spool) -> None:
        """Nothing is to be done."""

    def send(self, rows: Sequence[Row]) -> None:
        """As `Sink.send`."""
        body = "".join(row.body + "\n" for row in rows).encode()
        now = int(time.time())
        headers = {
            "Content-Type": "application/x-ndjson",
            DELIVERY_HEADER: hashlib.sha256(body).hexdigest()[:32],
            TIMESTAMP_HEADER: str(now),
            SIGNATURE_HEADER: signature(self._secret, now, body),
        }
        target = (self._url.path or "/") + (f"?{self._url.query}" if self._url.query else "")
        connection = self._connection()
        try:
            connection.request("POST", target, body, headers)
            answer = connection.getresponse()
            answer.read(65536)
        except (OSError, http.client.HTTPException) as error:
            raise Undelivered(f"{self._url.hostname} cannot be reached: {error}") from error
        finally:
            connection.close()
        if not 200 <= answer.status < 300:
            kind = Refused if answer.status in _REFUSALS else Undelivered
            raise kind(f"{self._url.hostname} answers {answer.status} {answer.reason}")

    def close(self) -> None:
        """Nothing is held."""

    def _connection(self) -> http.client.HTTPConnection:
        host = self._url.hostname or ""
        if self._tls is not None:
            return http.client.HTTPSConnection(host, self._url.port, timeout=_ANSWER_SECONDS, context=self._tls)
        return http.client.HTTPConnection(host, self._url.port, timeout=_ANSWER_SECONDS)
