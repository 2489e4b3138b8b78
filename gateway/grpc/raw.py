"""Bytes to messages, where a mistake is the caller's."""

from __future__ import annotations

from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from reeltag.errors import InputError

M = TypeVar("M", bound=Message)


def parsed(kind: type[M], raw: bytes | None) -> M:
    """A message from its bytes.

    Raises:
        InputError: They are none of that kind, or the caller sent nothing.
    """
    name = kind.DESCRIPTOR.full_name
    if raw is None:
        raise InputError(f"the call ended without a message; send one {name}")
    try:
        return kind.FromString(raw)
    except (DecodeError, UnicodeDecodeError) as error:
        raise InputError(
            f"the message cannot be read as {name}; is the client's .proto file that of this server?"
        ) from error


def serialised(message: Message) -> bytes:
    """A message as bytes."""
    return message.SerializeToString()
