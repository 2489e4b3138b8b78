"""What a job may read: the folders and the prefixes of object stores that the operator names."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from reeltag.errors import InvalidOption, SourceRefused
from reeltag.fetching.web import Web
from vod.stores.names import shown

OBJECT_SCHEMES: Final = ("s3", "gs", "az")
_EXAMPLES: Final = (
    "name a folder such as /data/films, or a prefix such as s3://bucket/films/; acme=/data/acme is the tenant acme's"
)
_OF_TENANT: Final = re.compile(r"(?P<tenant>[A-Za-z0-9][A-Za-z0-9._-]{0,63})=(?P<root>.+)", re.DOTALL)


@dataclass(frozen=True)
class Roots:
    """The operator's roots; nothing outside is read for a job."""

    folders: tuple[Path, ...] = ()
    """Absolute; links in them are the operator's, and followed."""
    prefixes: tuple[str, ...] = ()
    """Such as `s3://bucket/films/`; each ends with a slash."""

    @classmethod
    def of(cls, entries: Sequence[str], tenant: str | None = None) -> Roots:
        """Of what the operator wrote, `REELTAG_SOURCE_ROOTS`.

        Args:
            entries: A root that all may read, or such as `acme=/data/acme`, that the tenant `acme` alone may.
            tenant: Whose roots beside those of all; None for those of all tenants.

        Raises:
            InvalidOption: An entry is neither an absolute path nor a prefix of an object store.
        """
        folders, prefixes = list[Path](), list[str]()
        for entry in entries:
            of_tenant = _OF_TENANT.fullmatch(entry)
            root = of_tenant["root"] if of_tenant else entry
            scheme, mark, rest = root.partition("://")
            is_prefix = bool(mark and scheme in OBJECT_SCHEMES and rest.strip("/"))
            if not is_prefix and not (Path(root).is_absolute() and "\0" not in root and ".." not in Path(root).parts):
                raise InvalidOption(f"source_roots: {shown(entry)} is no root; {_EXAMPLES}")
            if of_tenant and tenant not in (None, of_tenant["tenant"]):
                continue
            if is_prefix:
                prefixes.append(f"{root.rstrip('/')}/")
            else:
                folders.append(Path(root))
        return cls(tuple(folders), tuple(prefixes))

    def check_folders(self) -> None:
        """See that the folders are there, before anything is started; raises `InvalidOption` as `of`."""
        for folder in self.folders:
            if not folder.is_dir():
                raise InvalidOption(f"source_roots: {shown(folder)} is no folder of this machine; {_EXAMPLES}")

    def covers(self, real: str) -> bool:
        """Whether a path, in which no link is left, lies in one of the folders or is one."""
        for folder in self.folders:
            root = os.path.realpath(folder)
            if real == root or real.startswith(root.rstrip("/") + "/"):
                return True
        return False

    def check_object(self, url: str) -> None:
        """See that an object, or a prefix of objects, lies below one of the prefixes.

        Raises:
            SourceRefused: It does not.
        """
        if not any(url.startswith(prefix) or f"{url}/" == prefix for prefix in self.prefixes):
            raise SourceRefused(f"{shown(url)} {self.outside()}", "outside_roots")

    def outside(self) -> str:
        """What is wrong with a source outside, and what would be right."""
        names = ", ".join([*(shown(folder) for folder in self.folders), *self.prefixes])
        if not names:
            return "is not taken: this server reads no paths and no stores; its operator says which, with --source-root"
        return f"lies outside of what this server reads; name something below {names}"


def whole_root(entry: str) -> str:
    """What an operator wrote, with a folder's path from `/` on."""
    of_tenant = _OF_TENANT.fullmatch(entry)
    whose, root = (f"{of_tenant['tenant']}=", of_tenant["root"]) if of_tenant else ("", entry)
    return entry if "://" in root else f"{whose}{Path(root).absolute()}"


@dataclass(frozen=True)
class Upload:
    """What a client uploaded, all of it."""

    path: Path
    name: str
    """As the client called the file, without folders."""


def no_uploads(upload_id: str) -> Upload:
    """Of a server that takes none.

    Raises:
        SourceRefused: Always.
    """
    raise SourceRefused(f"there is no upload {shown(upload_id)}; upload the video first, or again", "not_found")


@dataclass(frozen=True)
class Access:
    """All that the sources of one tenant may lie in."""

    roots: Roots
    web: Web
    """Of HTTP and HTTPS."""
    uploaded: Callable[[str], Upload] = no_uploads
    """The tenant's upload of an id; raises an error of reeltag where there is none that is whole."""
