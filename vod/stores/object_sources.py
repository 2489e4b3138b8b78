"""Videos in object stores: those below a prefix, and the bytes of each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from obstore.store import ObjectStore

from reeltag.errors import SourceRefused
from vod.stores.folders import ALL, is_pattern, matches, split_pattern
from vod.stores.inputs import VIDEO_SUFFIXES
from vod.stores.names import remote_name, shown
from vod.stores.objects import Place, told
from vod.stores.origins import Sent, nothing
from vod.stores.source import Found, SourceKind

if TYPE_CHECKING:  # of the stubs alone
    from obstore import GetResult, ObjectMeta

_CHUNK_BYTES = 1 << 20


def found_objects(url: str) -> Iterator[Found]:
    """The object at a URL, or all videos below it, page by page in the store's order, which is that of keys.

    Args:
        url: Of an object, of a prefix, or with wild cards as in `vod.stores.folders`.

    Raises:
        SourceRefused: They may not be read.
        FetchFailed: The store cannot be reached.
    """
    place = Place.of(url)
    store = place.store()
    if place.key and not place.key.endswith("/"):
        try:
            with told(url):
                yield _found(place, store.head(place.key))
                return
        except SourceRefused as error:
            if error.code != "not_found":
                raise
    prefix, parts = PurePosixPath(place.key), ALL
    if is_pattern(prefix):
        prefix, parts = split_pattern(prefix)
    for meta in _listed(store, url, str(prefix) if prefix.parts else ""):
        path = PurePosixPath(meta["path"])
        if matches(parts, path.relative_to(prefix).parts) and path.suffix.lower() in VIDEO_SUFFIXES:
            yield _found(place, meta)


def object_at(url: str) -> Found:
    """The object at a URL, whether it is there or not.

    Raises:
        SourceRefused: It is a prefix.
    """
    place = Place.of(url)
    if not place.key or place.key.endswith("/"):
        raise SourceRefused(f"{shown(url)} is a prefix; name one video, or submit the prefix itself", "not_a_file")
    name = remote_name(place.scheme, place.bucket, *place.key.split("/"))
    return Found(SourceKind.OBJECT, url, shown(url), str(name))


class ObjectOrigin:
    """An object, as the origin of a download.

    Args:
        url: Of it.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._place = Place.of(url)
        self._opened: ObjectStore | None = None

    @asynccontextmanager
    async def sending(self, start: int, validator: str) -> AsyncIterator[Sent]:
        """As of `vod.stores.origins.Origin`."""
        with told(self._url):
            meta = await self._store().head_async(self._place.key)
            goes_on = start and _validator(meta) == validator and start <= meta["size"]
            if goes_on and start == meta["size"]:
                yield Sent(start, start, validator, nothing())
                return
            first = start if goes_on else 0
            # What changes between the two questions breaks the condition, and is asked for anew.
            options: Any = {"range": {"offset": first}} if first else {}
            if meta["e_tag"]:
                options["if_match"] = meta["e_tag"]
            answer = await self._store().get_async(self._place.key, options=options)
            yield Sent(first, meta["size"], _validator(meta), _chunks(answer))

    async def is_same(self, validator: str) -> bool:
        """As of `vod.stores.origins.Origin`."""
        with told(self._url):
            return _validator(await self._store().head_async(self._place.key)) == validator

    def _store(self) -> ObjectStore:
        if self._opened is None:
            self._opened = self._place.store()
        return self._opened


async def _chunks(answer: GetResult) -> AsyncIterator[bytes]:
    async for chunk in answer.stream(min_chunk_size=_CHUNK_BYTES):
        yield bytes(chunk)


def _listed(store: ObjectStore, url: str, prefix: str) -> Iterator[ObjectMeta]:
    with told(url):
        for page in store.list(prefix or None, chunk_size=1000):
            yield from page


def _found(place: Place, meta: ObjectMeta) -> Found:
    return replace(object_at(place.url(meta["path"])), size=meta["size"], stamp=_validator(meta))


def _validator(meta: ObjectMeta) -> str:
    return meta["e_tag"] or f"{meta['size']}:{meta['last_modified'].isoformat()}"
