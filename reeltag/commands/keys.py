"""`reeltag keys`: who may ask a gateway that has a file of keys."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from reeltag.commands.common import KeysFileOption, progress, results, settings_of, table_of
from reeltag.errors import InvalidOption
from reeltag.keys import ApiKey, KeyFile
from reeltag.priority import Priority

app = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True)


@app.command()
def create(
    tenant: Annotated[str, typer.Argument(help="Whose key it is, such as the name of a team.")],
    images_per_second: Annotated[float | None, typer.Option(help="Most images that it may send, on average.")] = None,
    concurrent_requests: Annotated[int | None, typer.Option(help="Most of its requests in work at one time.")] = None,
    priority: Annotated[Priority, typer.Option(help="Of its requests that say none.")] = Priority.INTERACTIVE,
    keys_file: KeysFileOption = None,
) -> None:
    """Make a key and print it: it is in no file, so it cannot be shown again."""
    key, secret = _file(keys_file).create(
        tenant,
        images_per_second=images_per_second,
        concurrent_requests=concurrent_requests,
        priority=priority,
    )
    progress.print(f"key {key.id} of {tenant}; it is shown only now. Send it as `Authorization: Bearer KEY`.")
    results.print(secret, markup=False, soft_wrap=True)


@app.command("list")
def list_keys(keys_file: KeysFileOption = None) -> None:
    """List the keys, without their secrets."""
    rows = [_row(key) for key in _file(keys_file).all()]
    results.print(table_of("", rows) if rows else "there are no keys")


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(help="As `reeltag keys list` shows it.")], keys_file: KeysFileOption = None
) -> None:
    """Make a key worthless, at once, for every gateway that reads the file."""
    key = _file(keys_file).revoke(key_id)
    results.print(f"revoked {key.id} of {key.tenant}", markup=False)


def _file(chosen: Path | None) -> KeyFile:
    path = chosen or settings_of().keys_file
    if path is None:
        raise InvalidOption("which file of keys? Give --keys-file FILE, or set REELTAG_KEYS_FILE")
    return KeyFile(path)


def _row(key: ApiKey) -> dict[str, str]:
    return {
        "key": key.id,
        "tenant": key.tenant,
        "created": _date(key.created),
        "revoked": "" if key.revoked is None else _date(key.revoked),
        "images/s": "any" if key.images_per_second is None else f"{key.images_per_second:g}",
        "requests at once": "any" if key.concurrent_requests is None else str(key.concurrent_requests),
        "priority": key.priority.value,
    }


def _date(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
