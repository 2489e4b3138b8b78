"""How the limits of a gateway are divided among its workers, so that they hold for all of them together."""

from __future__ import annotations

from reeltag.settings import Settings


def share_of(settings: Settings) -> Settings:
    """A worker's part: connections, bytes of bodies and waiting images are divided, none below what a request needs.

    So are the requests that Triton works on at one time, and the instances that work on them; each worker has at least
    one.
    """
    workers = settings.workers
    return settings.model_copy(
        update={
            "max_connections": max(1, settings.max_connections // workers),
            "max_buffered_bytes": max(settings.max_upload_bytes, settings.max_buffered_bytes // workers),
            "max_waiting_images": max(settings.max_images_per_request, settings.max_waiting_images // workers),
            "max_inflight_requests": max(1, settings.max_inflight_requests // workers),
            "network_instances": max(1, settings.network_instances // workers),
        }
    )
