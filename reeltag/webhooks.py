"""How webhooks are signed, for who sends them and for who receives them.

A message carries `Reeltag-Timestamp`, seconds since 1970, and `Reeltag-Signature`, `v1=` and the hexadecimal
HMAC-SHA256 (RFC 2104) of the timestamp, a full stop and the body, by the receiver's secret.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from reeltag.errors import InvalidOption, SetupError, UrlNotAllowed
from reeltag.fetching.addresses import is_public
from reeltag.fetching.url_hosts import UrlHosts, target_of
from reeltag.settings import Settings

_FILE: Final = "webhook.key"


def check(settings: Settings, url: str) -> None:
    """See whether a webhook may be sent there; its host's addresses are looked at when it is sent.

    Raises:
        UrlNotAllowed: It is no http or https URL, or names an address that is not public.
        InvalidOption: As `secret_of`.
        SetupError: Likewise.
    """
    target = target_of(url)
    with suppress(ValueError):
        if not is_public(target.host) and not UrlHosts(settings.webhook_hosts).covers(target):
            raise UrlNotAllowed(f"{target.host} is no public address; the operator may allow it with webhook_hosts")
    secret_of(settings, "")


def secret_of(settings: Settings, tenant: str) -> str:
    """The secret of a tenant: made of the operator's, so that no tenant can sign in another's name.

    Raises:
        InvalidOption: Several hosts share a database, and no secret is set that all of them have.
        SetupError: The file of the secret cannot be read or made.
    """
    made = hmac.new(_master(settings).encode(), b"webhooks of " + tenant.encode(), hashlib.sha256).hexdigest()
    return f"whsec_{made}"


def _master(settings: Settings) -> str:
    if settings.webhook_secret_value is not None:
        return settings.webhook_secret_value
    if settings.database_url is not None and not settings.database_url.startswith("sqlite"):
        raise InvalidOption(
            "webhooks are off: with a database for several hosts the operator sets REELTAG_WEBHOOK_SECRET on each"
        )
    path = settings.state_dir / _FILE
    try:
        if not path.exists():
            _make(path)
        return path.read_text()
    except OSError as error:
        raise SetupError(f"{path} cannot be made or read ({error.strerror}); set REELTAG_WEBHOOK_SECRET") from error


def _make(path: Path) -> None:
    """Make the file, unless somebody else is quicker: then theirs is the one."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.NamedTemporaryFile("w", dir=path.parent) as file:  # its mode is 0600
        file.write(secrets.token_urlsafe(32))
        file.flush()
        os.fsync(file.fileno())
        try:
            os.link(file.name, path)
        except FileExistsError:
            return
