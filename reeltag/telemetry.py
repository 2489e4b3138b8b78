"""Where the standard OTEL_* variables want traces to be sent, for the gateway and for the Triton that it starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

TRACES_ENDPOINT: Final = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_PATH: Final = "/v1/traces"


def is_wanted(environment: Mapping[str, str]) -> bool:
    """Whether traces are to be sent somewhere."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporter = environment.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    return exporter == "otlp" or (exporter != "none" and any(environment.get(n) for n in (TRACES_ENDPOINT, ENDPOINT)))


def protocol(environment: Mapping[str, str]) -> str:
    """Of OTLP; `http/protobuf` where none is named, as the specification has it."""
    return next((said for name in _PROTOCOLS if (said := environment.get(name, "").strip())), "http/protobuf")


def triton_options(environment: Mapping[str, str]) -> list[str]:
    """Options of a Triton that goes on with traces that are begun elsewhere, and begins none itself.

    It speaks OTLP over HTTP alone, and knows no OTEL_* variables.
    """
    if not is_wanted(environment) or not protocol(environment).startswith("http/"):
        return []
    general = environment.get(ENDPOINT, "http://localhost:4318").rstrip("/") + _PATH
    settings = (
        "mode=opentelemetry",
        "level=TIMESTAMPS",
        "rate=0",
        f"opentelemetry,url={environment.get(TRACES_ENDPOINT) or general}",
        "opentelemetry,resource=service.name=reeltag-triton",
    )
    return [f"--trace-config={setting}" for setting in settings]
