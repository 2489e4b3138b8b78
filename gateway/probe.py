"""`python -m gateway.probe`: whether the gateway of this environment is ready, for a container's health check.

Standard library only: it is started every few seconds.
"""

from __future__ import annotations

import http.client
import os
import ssl
import sys
from typing import Final

_SECONDS: Final = 5.0


def main() -> int:
    """0 where `/readyz` answers 200, otherwise 1 with the reason."""
    try:
        status, text = _asked(os.environ)
    except OSError as error:
        status, text = 0, str(error)
    if status != http.client.OK:
        print(f"not ready: {status or ''} {text}", file=sys.stderr)
    return int(status != http.client.OK)


def _asked(environment: os._Environ[str]) -> tuple[int, str]:
    port = int(environment.get("REELTAG_PORT", "8000"))
    host = environment.get("REELTAG_HOST", "127.0.0.1")
    address = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    connection = http.client.HTTPConnection(address, port, timeout=_SECONDS)
    if environment.get("REELTAG_TLS_CERT"):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # it asks itself
        connection = http.client.HTTPSConnection(address, port, timeout=_SECONDS, context=context)
    allowed = [name.strip() for name in environment.get("REELTAG_ALLOWED_HOSTS", "").split(",") if name.strip()]
    name = allowed[0].replace("*", "probe", 1) if allowed else "localhost"
    connection.request("GET", "/readyz", headers={"Host": name})
    answer = connection.getresponse()
    return answer.status, answer.read().decode(errors="replace")


if __name__ == "__main__":
    sys.exit(main())
