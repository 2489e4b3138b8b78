"""What Triton's errors mean."""

from __future__ import annotations

from typing import Final

from reeltag.errors import (
    BackendLost,
    DeadlineExceeded,
    ModelUnavailable,
    OutOfGpuMemory,
    OutOfSharedMemory,
    ReeltagError,
    SetupError,
    TritonUnavailable,
)

_LOST: Final = ("is not healthy", "the health mutex")
"""In what Triton's Python backend says of a stub that is dead, or that it takes for dead."""
_NOT_SERVED: Final = ("is not ready", "no available versions", "unknown model", "failed to stat file")
"""In what Triton says of a model, or of a version of it, that it does not serve, or not yet; the last where somebody is
exchanging its folder."""
_SHM_FULL: Final = ("shared memory pool size", "grown shared memory region", "initialize shared memory key")
"""In what it says when `/dev/shm` is full."""
_GPU_FULL: Final = ("CUDA out of memory", "CUDA_ERROR_OUT_OF_MEMORY", "cudaErrorMemoryAllocation")
"""In what backends and their libraries say when the GPU's memory is full."""


def meaning_of(status: str, message: str, url: str) -> ReeltagError:
    """Our error for one of the server at `url`, whose gRPC status and message are given."""
    away = "UNAVAILABLE" in status
    if any(sign in message for sign in _SHM_FULL):
        return OutOfSharedMemory(
            "Triton has too little shared memory for this request; send fewer or smaller images at once, "
            "or give it more of /dev/shm (in a container --shm-size=1g)"
        )
    if any(sign in message for sign in _GPU_FULL):
        return OutOfGpuMemory(
            "the GPU has too little free memory for this request; send fewer or smaller images at once, or end other "
            "programs that use it (`nvidia-smi` shows them)"
        )
    kind: type[ReeltagError] = ReeltagError
    said, told = f": {message}", ""
    if any(sign in message for sign in _LOST):
        kind, said, told = BackendLost, f" lost a backend: {message}", "lost a backend"
    elif "DEADLINE_EXCEEDED" in status:
        kind, said = DeadlineExceeded, " did not answer in time"
    elif "explicit model load / unload is not allowed" in message:
        kind, said = SetupError, " loads what is new at its start alone; start it with --model-control-mode=explicit"
    elif away and "is restricted" in message:
        kind, said = SetupError, " restricts this call; name its secret with REELTAG_TRITON_SECRET"
    elif "NOT_FOUND" in status or any(sign in message for sign in _NOT_SERVED):
        kind, told = ModelUnavailable, "does not serve what is needed, or not yet"
    elif away or "CANCELLED" in status:
        kind, said = TritonUnavailable, " cannot be reached"
    return kind(f"Triton at {url}{said}").told_as(f"Triton {told or said.strip()}")
