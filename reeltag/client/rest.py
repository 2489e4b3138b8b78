"""The REST interface as a client sees it."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Sequence
from typing import Any

import httpx

from reeltag.client.images import Image, Options
from reeltag.client.rest_jobs import RestJobs
from reeltag.client.results import ClassMap, ClassShare, Model, TaggedImage
from reeltag.client.retrying import Refused, refused
from reeltag.measured import Measured
from reeltag.tags import Detection, ImageTag


class RestTransport:
    """Asks one gateway over HTTP.

    Args:
        url: Such as `http://127.0.0.1:8000`.
        headers: Sent with each request.
        authorities: PEM text of those that the server is checked against, instead of the common ones.
    """

    def __init__(self, url: str, headers: dict[str, str], *, authorities: str | None = None) -> None:
        verify = True if authorities is None else ssl.create_default_context(cadata=authorities)
        self._client = httpx.AsyncClient(base_url=url, headers=headers, trust_env=False, verify=verify)
        self.jobs = RestJobs(self._client)

    async def tag(self, images: Sequence[Image], options: Options, timeout_seconds: float) -> list[TaggedImage]:
        """As `AsyncClient.tag_images`, once."""
        query: dict[str, Any] = {"tasks": list(options.tasks), "model": list(options.models)}
        query |= {"class_map": "true" if options.class_map else None, "score_threshold": options.score_threshold}
        query["top_k"] = options.top_k
        answer = await self._request(
            "POST",
            "/v1/images",
            timeout_seconds,
            params={name: value for name, value in query.items() if value not in (None, [])},
            headers={"priority": options.priority} if options.priority else {},
            files=[("url", (None, image.url)) if image.url else ("file", (image.name, image.data)) for image in images],
        )
        return [_tagged(result) for result in answer["results"]]

    async def models(self, timeout_seconds: float) -> list[Model]:
        """As `AsyncClient.models`, once."""
        answer = await self._request("GET", "/v1/models", timeout_seconds)
        return [_model(model) for model in answer["models"]]

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _request(self, method: str, path: str, timeout_seconds: float, **options: Any) -> dict[str, Any]:
        try:
            answer = await self._client.request(method, path, timeout=max(timeout_seconds, 0.001), **options)
        except httpx.TimeoutException as error:
            raise Refused("deadline_exceeded", f"no answer within {timeout_seconds:.1f} seconds", 0) from error
        except httpx.TransportError as error:
            raise Refused("unreachable", f"{self._client.base_url} cannot be reached ({error})", 0) from error
        if answer.is_success:
            return dict(answer.json())
        raise refused(answer)


def _tagged(result: dict[str, Any]) -> TaggedImage:
    error, class_map = result.get("error") or {}, result.get("class_map")
    return TaggedImage(
        name=result["name"],
        width=result.get("width", 0),
        height=result.get("height", 0),
        detections=tuple(Detection(**one) for one in result.get("detections", ())),
        tags=tuple(ImageTag(**one) for one in result.get("tags", ())),
        shares=tuple(ClassShare(**one) for one in result.get("shares", ())),
        class_map=class_map and _class_map(class_map),
        error_code=error.get("code", ""),
        error=error.get("message", ""),
    )


def _model(said: dict[str, Any]) -> Model:
    known = {name: said[name] for name in Model.__dataclass_fields__ if name not in ("labels", "measured")}
    measured = Measured(**said["measured"]) if "measured" in said else None
    return Model(**known, labels=tuple(said["labels"]), measured=measured)


def _class_map(picture: dict[str, Any]) -> ClassMap:
    return ClassMap(base64.b64decode(picture["png"]), {one["index"]: one["label"] for one in picture["legend"]})
