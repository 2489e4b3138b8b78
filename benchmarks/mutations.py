"""Damaged images, so many that every branch of the readers is met: is each answered, and does nothing fall over?

Run it with `python -m benchmarks.mutations`. Images of every kind are damaged by chance, the same for the same seed,
and sent one by one, in forms and over gRPC. Every answer must be a result or a refusal of the picture; no process may
end but those that decode, none may hold more than its bound, and a photograph must have the same tags afterwards. It
ends with status 1 where that is broken.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import itertools
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import grpc
import numpy as np
from PIL import Image

from benchmarks import media
from benchmarks.hostile import MEMORY_MIB
from benchmarks.overload import watched_memory
from benchmarks.server import Served, serving
from benchmarks.throughput import machine
from reeltag.v1 import tagging_pb2 as pb
from reeltag.v1.tagging_pb2_grpc import TaggingStub

if TYPE_CHECKING:
    from reeltag.v1.tagging_pb2_grpc import TaggingAsyncStub  # there for types alone

PICTURE_CODES: Final = ("empty", "not_an_image", "truncated", "too_many_pixels", "too_costly")
"""What may be wrong with a picture; any other code is ours."""
FORM_IMAGES: Final = 16
_CLIENTS: Final = 4
_ONE_BY_ONE: Final = 0.25
"""Share of the images that are sent as bodies of their own."""
_HEAD_BYTES: Final = 128
"""Half of the damage is done here, where formats say how to read the rest."""
_DECODING: Final = "decoding process"
_TIMEOUT: Final = aiohttp.ClientTimeout(total=120)
Random = np.random.Generator
Mutation = Callable[[bytearray, Random], bytearray]


def whole_images() -> list[bytes]:
    """Sound files of every kind, small ones, so that damage meets more than pixels."""
    random = np.random.default_rng(7)
    shades = np.asarray(Image.fromarray(random.integers(0, 255, (9, 12, 3), np.uint8)).resize((96, 72)))
    picture = Image.fromarray(shades)
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation
    kinds: list[tuple[str, str, dict[str, Any]]] = [
        ("RGB", "JPEG", {"quality": 80, "exif": exif}),
        ("RGB", "JPEG", {"progressive": True, "icc_profile": bytes(300)}),
        ("L", "JPEG", {"restart_marker_blocks": 2}),
        ("CMYK", "JPEG", {}),
        ("RGB", "PNG", {"exif": exif}),
        ("RGBA", "PNG", {"optimize": True}),
        ("P", "PNG", {"transparency": 3}),
        ("1", "PNG", {}),
        ("I;16", "PNG", {}),
        ("RGB", "WEBP", {"quality": 60, "exif": exif}),
        ("RGBA", "WEBP", {"lossless": True}),
        ("RGB", "WEBP", {"save_all": True, "append_images": [picture.rotate(90), picture.rotate(180)]}),
        ("RGB", "BMP", {}),
        ("P", "BMP", {}),
        ("RGB", "GIF", {}),
        ("P", "GIF", {"save_all": True, "append_images": [picture.convert("P").rotate(90)]}),
    ]
    files = []
    for mode, kind, options in kinds:
        buffer = io.BytesIO()
        (picture.convert("L").convert(mode) if mode == "I;16" else picture.convert(mode)).save(buffer, kind, **options)
        files.append(buffer.getvalue())
    return files


def mutated(seed: int) -> Iterator[bytes]:
    """Damaged images without end, the same for the same seed."""
    random = np.random.default_rng(seed)
    files = whole_images()
    while True:
        file = bytearray(files[random.integers(len(files))])
        for _ in range(random.integers(1, 4)):
            file = _MUTATIONS[random.integers(len(_MUTATIONS))](file, random)
        if random.random() < 0.05:
            other = files[random.integers(len(files))]
            file = file[: random.integers(len(file) + 1)] + other[random.integers(len(other)) :]
        yield bytes(file)


def _place(file: bytearray, random: Random) -> int:
    end = len(file) if random.random() < 0.5 else min(len(file), _HEAD_BYTES)
    return int(random.integers(max(end, 1)))


def _flip_bits(file: bytearray, random: Random) -> bytearray:
    for _ in range(random.integers(1, 9)):
        if file:
            file[_place(file, random)] ^= 1 << int(random.integers(8))
    return file


def _other_bytes(file: bytearray, random: Random) -> bytearray:
    at = _place(file, random)
    file[at : at + 4] = random.bytes(int(random.integers(1, 5)))
    return file


def _extreme_number(file: bytearray, random: Random) -> bytearray:
    at, size = _place(file, random), int(random.choice([1, 2, 4, 8]))
    half = 2 ** (8 * size - 1)
    number = (0, 1, half - 1, half, 2 * half - 1)[random.integers(5)]
    file[at : at + size] = number.to_bytes(size, "big" if random.random() < 0.5 else "little")
    return file


def _cut_off(file: bytearray, random: Random) -> bytearray:
    return file[: random.integers(len(file) + 1)]


def _leave_out(file: bytearray, random: Random) -> bytearray:
    at = _place(file, random)
    del file[at : at + int(random.integers(1, 65))]
    return file


def _repeat(file: bytearray, random: Random) -> bytearray:
    at = _place(file, random)
    piece = file[at : at + int(random.integers(1, 257))]
    return file[:at] + piece * int(random.integers(2, 200)) + file[at:]


def _insert(file: bytearray, random: Random) -> bytearray:
    at = _place(file, random)
    return file[:at] + bytearray(random.bytes(int(random.integers(1, 65)))) + file[at:]


_MUTATIONS: Final[Sequence[Mutation]] = (
    _flip_bits, _flip_bits, _other_bytes, _extreme_number, _cut_off, _leave_out, _repeat, _insert,
)  # fmt: skip


@dataclass
class Attacked:
    """What became of the images."""

    outcomes: Counter[str] = field(default_factory=Counter)
    """By interface and code."""
    faults: list[str] = field(default_factory=list)
    """Answers that are neither a result nor a refusal of the picture."""

    def note(self, interface: str, code: str, image: bytes) -> None:
        """Count one image's answer."""
        self.outcomes[f"{interface} {code or 'tagged'}"] += 1
        if code and code not in PICTURE_CODES and len(self.faults) < 50:
            self.faults.append(f"{interface} {code}: {image[:48].hex()}... of {len(image)} bytes")


async def attack(served: Served, seed: int, over_rest: int, over_grpc: int) -> Attacked:
    """Send so many damaged images over each interface."""
    seen = Attacked()
    source = mutated(seed)
    one_by_one = round(over_rest * _ONE_BY_ONE)
    singles = ([next(source)] for _ in range(one_by_one))
    forms = _parts(source, over_rest - one_by_one)
    calls = _parts(source, over_grpc)
    async with (
        aiohttp.ClientSession(timeout=_TIMEOUT) as session,
        grpc.aio.insecure_channel(served.grpc_target) as channel,
    ):
        stub = TaggingStub(channel)

        async def client() -> None:
            for files in itertools.chain(singles, forms):  # all clients draw from the same ones
                await _over_rest(session, served.url, files, seen)
            for files in calls:
                await _over_grpc(stub, files, seen)

        await asyncio.gather(*(client() for _ in range(_CLIENTS)))
    return seen


def _parts(source: Iterator[bytes], count: int) -> Iterator[list[bytes]]:
    for start in range(0, count, FORM_IMAGES):
        yield list(itertools.islice(source, min(FORM_IMAGES, count - start)))


async def _over_rest(session: aiohttp.ClientSession, url: str, files: list[bytes], seen: Attacked) -> None:
    body: Any = files[0]
    headers = {"Content-Type": "application/octet-stream"}
    if len(files) > 1:
        body, headers = aiohttp.FormData(), {}
        for file in files:
            body.add_field("file", file, filename="picture", content_type="application/octet-stream")
    async with session.post(f"{url}/v1/images?tasks=detect", data=body, headers=headers) as answer:
        content = await answer.json()
    results = content.get("results") or [content] * len(files)
    for file, result in zip(files, results, strict=True):
        code = (result.get("error") or {}).get("code", "")
        if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            code = f"status {answer.status} {code}"
        seen.note("REST", code, file)


async def _over_grpc(stub: TaggingAsyncStub, files: list[bytes], seen: Attacked) -> None:
    request = pb.TagImagesRequest(
        images=[pb.Image(data=file) for file in files], options=pb.TagOptions(tasks=["detect"])
    )
    try:
        answer = await stub.TagImages(request, timeout=120)
    except grpc.aio.AioRpcError as error:
        # Where no picture could be tagged, the call fails with the first one's error.
        refused = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED)
        code = PICTURE_CODES[1] if error.code() in refused else error.code().name
        for file in files:
            seen.note("gRPC", code, file)
        return
    for file, result in zip(files, answer.results, strict=True):
        seen.note("gRPC", result.error.code, file)


def run(served: Served, seed: int, over_rest: int, over_grpc: int) -> tuple[Attacked, dict[str, float], list[str]]:
    """The attack, most memory by kind of process, and what is broken."""
    photograph = media.jpegs_720p(1)[0]
    before, tags = _lasting(served), asyncio.run(_tags(served, photograph))
    with watched_memory(served) as most:
        seen = asyncio.run(attack(served, seed, over_rest, over_grpc))
    broken = list(seen.faults)
    broken += [f"{name} ended" for name in before - _lasting(served)]
    if asyncio.run(_tags(served, photograph)) != tags:
        broken.append("the photograph has other tags now")
    for role, bound in MEMORY_MIB.items():
        if most.get(role, 0) > bound:
            broken.append(f"{role} held {most[role]:.0f} MiB of at most {bound}")
    return seen, most, broken


def _lasting(served: Served) -> set[str]:
    """Processes that no picture may end."""
    return {name for name in served.processes() if not name.startswith(_DECODING)}


async def _tags(served: Served, image: bytes) -> Any:
    async with aiohttp.ClientSession() as session:
        answer = await session.post(
            f"{served.url}/v1/images?tasks=detect", data=image, headers={"Content-Type": "image/jpeg"}
        )
        return (await answer.json())["results"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 1 where something is broken."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mutations", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--images", type=int, default=20_000, help="over REST")
    parser.add_argument("--grpc-images", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    print(f"{machine()}\n`python -m benchmarks.mutations --images {options.images} --seed {options.seed}`\n")
    began = time.perf_counter()
    with serving() as served:
        seen, most, broken = run(served, options.seed, options.images, options.grpc_images)
    print("| answer | images |\n|---|---|")
    for outcome, count in sorted(seen.outcomes.items()):
        print(f"| {outcome} | {count:,} |")
    print(
        f"\n{sum(seen.outcomes.values()):,} images in {time.perf_counter() - began:.0f} s; most memory, MiB: ", end=""
    )
    print(", ".join(f"{role} {most.get(role, 0):.0f} of {bound}" for role, bound in MEMORY_MIB.items()) + ".")
    print("\n".join(f"BROKEN: {problem}" for problem in broken) or "Every image was answered, and nothing fell over.")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
