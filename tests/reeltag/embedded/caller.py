"""Tries every call of a Triton, and to open files; run as a script, which prints what happened as JSON.

Arguments: a user id to become (or -1), a gRPC address, a secret (or nothing), files.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from reeltag.triton_connection import RESTRICTION_HEADER

NOBODY = 65534
NO_USER = -1
METHODS = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods


def called(address: str, secret: str) -> dict[str, str]:
    """Status and details of each RPC, asked with an empty request."""
    channel = grpc.insecure_channel(address)
    stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
    metadata = [(RESTRICTION_HEADER, secret)] if secret else None
    answers: dict[str, str] = {}
    for method in METHODS:
        request: Any = getattr(service_pb2, method.input_type.name)()
        streams = method.client_streaming
        try:
            answer = getattr(stub, method.name)(iter([request]) if streams else request, timeout=10, metadata=metadata)
            answers[method.name] = f"OK {list(answer) if streams else answer}"
        except grpc.RpcError as error:
            answers[method.name] = f"{error.code().name} {error.details()}"
    channel.close()
    return answers


def opened(path: str) -> bool:
    """Whether a file or folder can be opened for reading."""
    try:
        os.close(os.open(path, os.O_RDONLY))
    except PermissionError:
        return False
    return True


def tried(address: str, *, secret: str = "", user: int = NO_USER, paths: Iterable[Path] = ()) -> dict[str, Any]:
    """What a process of its own reports: `calls` by RPC, `files` by path."""
    command = [sys.executable, __file__, str(user), address, secret, *map(str, paths)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    report: dict[str, Any] = json.loads(ended.stdout)
    return report


if __name__ == "__main__":
    user, address, secret, *files = sys.argv[1:]
    if int(user) != NO_USER:
        os.setgroups([])
        os.setgid(int(user))
        os.setuid(int(user))
    print(json.dumps({"calls": called(address, secret), "files": {path: opened(path) for path in files}}))
