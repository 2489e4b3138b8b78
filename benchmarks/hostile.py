"""Does the service stay up? Small files that cost much are sent to a `reeltag serve`, while others want their answers.

Run it with `python -m benchmarks.hostile [PART OF AN ATTACK'S NAME]`. Each attack is four clients who send the
attack's requests over and over; meanwhile `/healthz` is asked ten times a second, and two clients send photographs.
It ends with status 1 where a bound is broken.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from benchmarks import media
from benchmarks.attacks import ATTACKS
from benchmarks.server import Served, serving
from benchmarks.throughput import machine

SECONDS: Final = 15.0
"""How long an attack lasts; what it sent is waited for."""
ATTACKERS: Final = 4
INNOCENTS: Final = 2
HEALTH_SECONDS: Final = 1.0
"""Bound of an answer of `/healthz`."""
DEADLINE_SECONDS: Final = 30.0
"""Bound of an innocent request's answer: the default of `REELTAG_TIMEOUT_SECONDS`."""
MEMORY_MIB: Final = {"gateway": 1174, "Triton": 1024, "Python backend decode": 512, "decoding process": 1216}
"""Bounds of one process with the default settings; `docs/operating.md` says what they are made of."""
_SAMPLE_SECONDS: Final = 0.1


@dataclass
class Seen:
    """What was seen of the others during an attack."""

    health_seconds: float = 0.0
    """Longest."""
    innocent_seconds: float = 0.0
    """Longest."""
    innocents: Counter[int] = field(default_factory=Counter)
    """Final answers by status."""
    told_to_wait: int = 0
    """Refusals of innocents with `Retry-After`; they came again, and their time went on."""
    mebibytes: dict[str, float] = field(default_factory=dict)
    """Most that a process held, by what it is."""

    def broken(self, memory: Mapping[str, float] | None = None) -> list[str]:
        """The bounds that were not kept; those of memory are `memory`, MiB, where the attack has others."""
        found = []
        if self.health_seconds > HEALTH_SECONDS:
            found.append(f"/healthz took {self.health_seconds:.1f} s")
        if self.innocent_seconds > DEADLINE_SECONDS:
            found.append(f"an innocent request took {self.innocent_seconds:.1f} s")
        if set(self.innocents) != {200}:
            found.append(f"innocent requests were answered {dict(self.innocents)}")
        for role, bound in (MEMORY_MIB if memory is None else memory).items():
            if self.mebibytes.get(role, 0) > bound:
                found.append(f"{role} held {self.mebibytes[role]:.0f} MiB of at most {bound:.0f}")
        return found


def attack(name: str, url: str, results: Any) -> None:
    """Send an attack's requests from a process of its own; puts the answers by status and code into `results`."""
    requests = ATTACKS[name]()
    results.put("ready")
    results.put(asyncio.run(_attack(requests, url)))


async def _attack(requests: Any, url: str) -> Counter[str]:
    answers: Counter[str] = Counter()
    source = itertools.cycle(requests)
    end = time.perf_counter() + SECONDS

    async def client(session: aiohttp.ClientSession) -> None:
        while time.perf_counter() < end:
            files = next(source)
            form = aiohttp.FormData()
            for file in files:
                form.add_field("file", file, filename="picture", content_type="application/octet-stream")
            try:
                async with session.post(f"{url}/v1/images?tasks=detect", data=form) as answer:
                    answers.update(_codes(answer.status, await answer.json()))
            except aiohttp.ClientError as error:
                answers[type(error).__name__] += 1

    timeout = aiohttp.ClientTimeout(total=120)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        await asyncio.gather(*(client(session) for _ in range(ATTACKERS)))
    return answers


def _codes(status: int, answer: Any) -> Iterator[str]:
    """Of each image; where the request failed as a whole, its own."""
    for result in answer.get("results") or [answer]:
        error = result.get("error")
        yield f"{status} {error['code']}" if error else str(status)


async def watch(
    served: Served, image: bytes, attacker: multiprocessing.process.BaseProcess, *, newcomers: bool = False
) -> Seen:
    """Be the others, until the attacker is done; newcomers open a connection for each request."""
    seen = Seen()

    async def health(session: aiohttp.ClientSession) -> None:
        while attacker.is_alive():
            began = time.perf_counter()
            async with session.get(f"{served.url}/healthz") as answer:
                await answer.read()
            seen.health_seconds = max(seen.health_seconds, time.perf_counter() - began)
            await asyncio.sleep(_SAMPLE_SECONDS)

    async def innocent(session: aiohttp.ClientSession) -> None:
        began = time.perf_counter()
        while attacker.is_alive():
            async with session.post(
                f"{served.url}/v1/images?tasks=detect", data=image, headers={"Content-Type": "image/jpeg"}
            ) as answer:
                await answer.read()
            seen.innocent_seconds = max(seen.innocent_seconds, time.perf_counter() - began)
            if answer.status == 503 and "Retry-After" in answer.headers:
                seen.told_to_wait += 1
                await asyncio.sleep(float(answer.headers["Retry-After"]))
                continue
            seen.innocents[answer.status] += 1
            began = time.perf_counter()

    async def memory() -> None:
        while attacker.is_alive():
            for name, mebibytes in (await asyncio.to_thread(served.memory)).items():
                role = name.rpartition(" ")[0]
                seen.mebibytes[role] = max(seen.mebibytes.get(role, 0.0), mebibytes)
            await asyncio.sleep(_SAMPLE_SECONDS)

    timeout = aiohttp.ClientTimeout(total=120)
    connector = aiohttp.TCPConnector(force_close=newcomers)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
        await asyncio.gather(health(session), memory(), *(innocent(session) for _ in range(INNOCENTS)))
    return seen


def run(served: Served, name: str, image: bytes) -> list[str]:
    """One attack; prints its line and gives the bounds that were broken."""
    spawn = multiprocessing.get_context("spawn")
    results = spawn.Queue()
    attacker = spawn.Process(target=attack, args=(name, served.url, results))
    attacker.start()
    with contextlib.ExitStack() as stack:
        stack.callback(attacker.kill)
        results.get(timeout=300)
        seen = asyncio.run(watch(served, image, attacker))
        answers: Counter[str] = results.get(timeout=10)
    hostile = ", ".join(f"{code} x {count}" for code, count in answers.most_common(5))
    cells = [f"{seen.mebibytes.get(role, 0):.0f}" for role in MEMORY_MIB]
    times = f"{seen.health_seconds:.2f} | {seen.innocent_seconds:.1f} | {seen.innocents[200]}"
    print(f"| {name} | {hostile} | {times} | {' | '.join(cells)} |", flush=True)
    return [f"{name}: {problem}" for problem in seen.broken()]


def main() -> None:
    """Print the table as Markdown."""
    wanted = [name for name in ATTACKS if not sys.argv[1:] or sys.argv[1].lower() in name.lower()]
    image = media.jpegs_720p(1)[0]
    print(f"{machine()}\n`python -m benchmarks.hostile`, {SECONDS:.0f} s an attack\n")
    roles = " | ".join(f"{role}, MiB" for role in MEMORY_MIB)
    print(f"| attack | answers to it | /healthz, s | innocent, s | answered | {roles} |")
    print(f"|---|---|---|---|---|{'---|' * len(MEMORY_MIB)}")
    with serving() as served:
        broken = [problem for name in wanted for problem in run(served, name, image)]
    print("\n" + ("\n".join(f"BROKEN: {problem}" for problem in broken) or "Every bound was kept."))
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
