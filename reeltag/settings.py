"""Every option of the running service: one frozen object, read from `REELTAG_*` environment variables."""

from __future__ import annotations

import os
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from reeltag import __version__
from reeltag.contract import MAX_BATCH_SIZE
from reeltag.errors import InvalidOption
from reeltag.frames import MAX_IMAGE_PIXELS
from reeltag.sizing import default_of

_PREFIX: Final = "REELTAG_"
_FOLLOWS_FROM_WHAT_IS_WRONG: Final = "default_factory_not_called"
"""What pydantic says of a default that cannot be computed from other settings, because one of them is wrong."""
_ALIKE: Final = 0.8
"""From this likeness on (`difflib`, 0 to 1) a name is taken for a misspelt one."""


def _default_state_dir() -> Path:
    """By the XDG base directory specification."""
    given = os.environ.get("XDG_STATE_HOME", "")
    return (Path(given) if Path(given).is_absolute() else Path.home() / ".local" / "state") / "reeltag"


def _sized(name: str, *, least: int, most: int) -> Any:
    """A field whose default follows from the cores, see `reeltag.sizing`; it stands behind those that it follows."""
    return Field(default_factory=lambda data: default_of(name, data), ge=least, le=most)


class Settings(BaseSettings):
    """The options; each may be given as an environment variable, such as `REELTAG_PORT=8080`."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )

    state_dir: Path = Field(default_factory=_default_state_dir)
    """Folder of what is kept between runs: the database of jobs, uploads, downloads, results, what was tuned."""
    network_threads: int = _sized("network_threads", least=1, most=256)
    """Threads of each instance of a network that OpenVINO runs, 1 to 256."""
    network_instances: int = _sized("network_instances", least=1, most=128)
    """Processes that run each network on the CPU, 1 to 128, each with `network_threads`."""
    nms_instances: int = _sized("nms_instances", least=1, most=64)
    """Processes of each backend behind the networks, `nms` and `areas`, 1 to 64."""
    decode_instances: int = _sized("decode_instances", least=1, most=16)
    """Processes of the backend `decode`, 1 to 16, each with its share of `decode_workers`."""
    decode_workers: int = _sized("decode_workers", least=1, most=256)
    """Pictures that are decoded at one time, each in a process, 1 to 256."""
    queue_delay_microseconds: int = _sized("queue_delay_microseconds", least=0, most=1_000_000)
    """How long a request waits in Triton for others to share its batch, microseconds, 0 to 1,000,000."""

    host: str = Field("127.0.0.1", min_length=1)
    """Address that the gateway listens on; `0.0.0.0` for every interface."""
    port: int = Field(8000, ge=0, le=65535)
    """TCP port of the gateway, 0 to 65535; 0 takes a free one."""
    grpc_port: int = Field(8001, ge=0, le=65535)
    """TCP port of the gateway's gRPC interface, 0 to 65535; 0 leaves it off."""
    workers: int = _sized("workers", least=1, most=64)
    """Processes that serve the gateway behind its ports, 1 to 64."""
    triton_url: str | None = Field(None, min_length=1)
    """A running Triton's gRPC endpoint, such as `127.0.0.1:8001` or `unix:/run/triton/grpc:1`, or several, separated by
    commas, that serve the same; none starts one."""
    triton_secret: SecretStr | None = Field(None, min_length=1)
    """SECRET of a running Triton that was started with `--grpc-restricted-protocol=...:reeltag=SECRET`."""
    model_repository: Path | None = None
    """Folder that the embedded Triton serves; none takes the repository that comes with reeltag."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe message that is logged."""
    log_format: Literal["text", "json"] = "text"
    """Whether the log's lines are for people or JSON objects."""

    tls_cert: Path | None = None
    """PEM file of the gateway's certificate and those between it and its authority; with `tls_key` HTTP and gRPC are
    spoken over TLS alone."""
    tls_key: Path | None = None
    """PEM file of the certificate's private key, not encrypted."""
    keys_file: Path | None = None
    """File of API keys, as `reeltag keys` writes it; with it only who has a good key may ask."""
    anonymous: bool = False
    """Whether everybody may ask who reaches a gateway that listens beyond this machine and has no keys."""
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    """Host headers that are answered, separated by commas, such as `tags.example.org,*.internal`; none answers all."""
    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()
    """Origins whose web pages may ask, separated by commas, such as `https://app.example.org`; none lets none."""
    url_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    """Hosts that files are fetched from by URL, separated by commas, such as `a.example.org,*.example.net:8443`."""
    max_connections: int = Field(1024, ge=1, le=100_000)
    """Most open connections, 1 to 100,000; at the limit the one that idles longest makes room for a new one."""
    max_header_bytes: int = Field(32 << 10, ge=1024, le=1 << 20)
    """Most bytes of a request's line and headers, and of its trailers and chunk sizes, 1 KiB to 1 MiB."""
    header_timeout_seconds: float = Field(10.0, gt=0, le=3600)
    """Longest time for a request's line and headers to arrive, seconds, above 0 to 3600."""
    body_timeout_seconds: float = Field(10.0, gt=0, le=3600)
    """In each such time `min_bytes_per_second` must move, of a body to us or of an answer from us; above 0 to 3600."""
    min_bytes_per_second: int = Field(1024, ge=1, le=1 << 30)
    """Slowest transfer of a body or an answer that is put up with, bytes a second, 1 to 1 GiB."""
    idle_timeout_seconds: float = Field(30.0, gt=0, le=3600)
    """How long a connection may stay open between two requests, seconds, above 0 to 3600."""
    drain_seconds: float = Field(1.0, ge=0, le=300)
    """How long `/readyz` says 503 before a stopping gateway closes its listener, seconds, 0 to 300."""

    timeout_seconds: float = Field(30.0, gt=0, le=3600)
    """Longest wait for Triton's answer to one request, queueing included, seconds, above 0 to 3600."""
    max_upload_bytes: int = Field(32 << 20, ge=1024, le=2 << 30)
    """Largest request body, bytes, 1 KiB to 2 GiB."""
    max_buffered_bytes: int = Field(512 << 20, ge=1024)
    """Most bytes of request bodies held at one time, at least `max_upload_bytes`; above it requests get 429."""
    max_images_per_request: int = Field(32, ge=1, le=1024)
    """Most `file` parts in one request, 1 to 1024."""
    max_image_pixels: int = Field(MAX_IMAGE_PIXELS, ge=1, le=MAX_IMAGE_PIXELS)
    """Largest picture, pixels (columns times rows), 1 to 67,108,864."""

    max_video_bytes: int = Field(64 << 30, ge=1024, le=1 << 44)
    """Largest video that is uploaded or downloaded for a job, bytes, 1 KiB to 16 TiB; it is kept below `state_dir`."""
    cache_bytes: int = Field(64 << 30, ge=1024)
    """Most bytes of downloads that a host keeps below `state_dir`, at least 1 KiB; no larger video is downloaded."""
    max_uploads: int = Field(1000, ge=1, le=1_000_000)
    """Most uploads that a tenant may have there, 1 to 1,000,000."""
    upload_hours: float = Field(72.0, gt=0, le=8760)
    """How long an upload is kept that does not go on, hours, above 0 to 8760; a finished one `retention_days`."""
    webhook_secret: SecretStr | None = Field(None, min_length=16)
    """What webhooks are signed with, each tenant's by a secret made of it; the same on every host. Without it one is
    made and kept in `state_dir`."""
    webhook_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    """Hosts of webhooks that may be at private addresses, separated by commas, such as `hooks.internal:8080`."""

    batch_max_images: int = _sized("batch_max_images", least=1, most=MAX_BATCH_SIZE)
    """Most images in one request to Triton, 1 to 32."""
    batch_max_delay_microseconds: int = Field(4000, ge=0, le=1_000_000)
    """Longest wait for a batch to fill while Triton could take it, microseconds, 0 to 1,000,000."""
    max_inflight_requests: int = _sized("max_inflight_requests", least=1, most=256)
    """Most requests that Triton works on at one time, 1 to 256; while it has these, batches keep gathering."""
    max_waiting_images: int = _sized("max_waiting_images", least=1, most=100_000)
    """Most images of each priority that wait for Triton, `max_images_per_request` to 100,000; above it 429."""
    newest_first: bool = False
    """Whether the request that came last goes first: of a camera the newest frame is worth most (`--profile edge`)."""

    score_threshold: float = Field(0.3, ge=0, le=1)
    """Lowest score of a detection where a request states none, 0 to 1."""
    top_k: int = Field(5, ge=1, le=1000)
    """Most tags of an image where a request states none, 1 to 1000."""

    database_url: str | None = Field(None, min_length=1)
    """Where jobs are kept: `postgresql://USER:PASSWORD@HOST/NAME` for several hosts; none is SQLite in `state_dir`."""
    source_roots: Annotated[tuple[str, ...], NoDecode] = ()
    """Folders, and prefixes such as `s3://bucket/films/`, below which jobs may name sources, separated by commas; with
    a name, as `acme=/data/acme`, those of that tenant alone. None lets jobs name no file."""
    results: str | None = Field(None, min_length=1)
    """Where results of jobs go: a folder, or `s3://`, `gs://` or `az://` with a bucket; none is `state_dir/results`."""
    jobs_worker: bool = True
    """Whether `reeltag serve` runs a worker of jobs beside the gateway; other hosts may do the work instead."""
    worker_slots: int = _sized("worker_slots", least=1, most=256)
    """Segments of videos that a worker has in work at one time, 1 to 256."""
    tag_jobs: int = _sized("tag_jobs", least=1, most=256)
    """Videos, or segments of one, that `reeltag tag` has in work at one time, 1 to 256."""
    most_running_videos: int = Field(10_000, ge=1, le=1_000_000)
    """Most videos in work at one time on all hosts, 1 to 1,000,000."""
    most_queued_videos: int = Field(1_000_000, ge=1, le=100_000_000)
    """Most videos that wait, 1 to 100,000,000; while they do, new jobs get 429."""
    retention_days: float = Field(30.0, gt=0, le=36_500)
    """Days after its end until a job and its results are deleted, above 0 to 36,500."""
    decoder: Literal["auto", "cpu", "gpu"] = "auto"
    """What decodes videos: a GPU where that was found to work, the CPU, or a GPU and else an error."""
    segment_seconds: float = Field(60.0, ge=1, le=3600)
    """About how long the parts are that a video is tagged in, seconds, 1 to 3600; results do not depend on it."""
    pipeline_version: str = Field(__version__, min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$")
    """Of networks and code: a job is done by workers of the version that it was submitted with. Change it where other
    networks are served."""

    @property
    def jobs_url(self) -> str:
        """The database of jobs."""
        return self.database_url or f"sqlite:///{self.state_dir / 'jobs.sqlite'}"

    @property
    def results_root(self) -> str:
        """Where results of jobs go."""
        return self.results or str(self.state_dir / "results")

    @property
    def triton_urls(self) -> tuple[str, ...]:
        """Each address of `triton_url`, once."""
        return tuple(dict.fromkeys(filter(None, (url.strip() for url in (self.triton_url or "").split(",")))))

    @property
    def triton_secret_value(self) -> str | None:
        """`triton_secret` in the clear."""
        return self.triton_secret.get_secret_value() if self.triton_secret else None

    def plain(self) -> dict[str, Any]:
        """As JSON, with its secrets in the clear: for a pipe that nobody else reads."""
        secrets = {name: value.get_secret_value() for name, value in self if isinstance(value, SecretStr)}
        return {**self.model_dump(mode="json"), **secrets}

    @property
    def webhook_secret_value(self) -> str | None:
        """`webhook_secret` in the clear."""
        return self.webhook_secret.get_secret_value() if self.webhook_secret else None

    @property
    def uploads_root(self) -> Path:
        """Folder of uploads."""
        return self.state_dir / "uploads"

    @field_validator("allowed_hosts", "cors_origins", "url_hosts", "source_roots", "webhook_hosts", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(filter(None, (name.strip() for name in value.split(",")))) if isinstance(value, str) else value

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            parts = urlsplit(origin)
            if parts.scheme not in ("http", "https") or f"{parts.scheme}://{parts.netloc}" != origin:
                raise ValueError(f"{origin!r} is no origin; give SCHEME://NAME or SCHEME://NAME:PORT")
        return value

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Settings:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key go together; give both")
        return self

    @model_validator(mode="after")
    def _limits_agree(self) -> Settings:
        if self.max_buffered_bytes < self.max_upload_bytes:
            raise ValueError(
                f"max_buffered_bytes ({self.max_buffered_bytes}) must be at least "
                f"max_upload_bytes ({self.max_upload_bytes})"
            )
        if self.max_waiting_images < self.max_images_per_request:
            raise ValueError(
                f"max_waiting_images ({self.max_waiting_images}) must be at least "
                f"max_images_per_request ({self.max_images_per_request})"
            )
        return self


_NAMES: Final = tuple(name.upper() for name in Settings.model_fields)


def load_settings(**options: Any) -> Settings:
    """Read the settings from the environment, the given options first; an option that is None counts as not given.

    Raises:
        InvalidOption: A value is not of its type, outside its range, or no such option exists, or a variable is named
            almost as one that exists; the text names it.
    """
    for name in unknown_variables(os.environ):
        if alike := get_close_matches(name[len(_PREFIX) :].upper(), _NAMES, n=1, cutoff=_ALIKE):
            raise InvalidOption(f"{name} is no setting of reeltag, {_PREFIX}{alike[0]} is; correct it, or unset it")
    given = {name: value for name, value in options.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        wrong = [dict(detail) for detail in error.errors() if detail["type"] != _FOLLOWS_FROM_WHAT_IS_WRONG]
        raise InvalidOption("; ".join(_problem(detail, given) for detail in wrong)) from error


def unknown_variables(environment: Iterable[str]) -> list[str]:
    """Names that begin as our settings do and are none of them; other programs may have some, such as Kubernetes."""
    begin = len(_PREFIX)
    return sorted(
        name for name in environment if name.upper().startswith(_PREFIX) and name[begin:].upper() not in _NAMES
    )


def _problem(detail: dict[str, Any], given: dict[str, Any]) -> str:
    message = str(detail["msg"]).removeprefix("Value error, ")
    if not detail["loc"]:
        return message
    name = str(detail["loc"][0])
    source = name if name in given else f"REELTAG_{name.upper()}"
    return f"{source}={detail['input']}: {message[0].lower()}{message[1:]}"
