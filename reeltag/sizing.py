"""How many instances, threads, processes and requests in flight serving takes: one rule, from cores and memory.

The rule (`by_rule`), and why:

- A network has an instance of `THREADS` threads for each so many cores. One process a network kept 5 of 14 cores busy:
  between two batches its interpreter hands tensors over, and its threads wait meanwhile, and for the slowest of them.
  A thread that is alone waits for nobody. A process costs memory, so that from `LARGE_CORES` on an instance has twice
  as many threads.
- Instances and threads take at most what memory leaves beside everything else (`instance_mib`, for `NETWORKS`
  networks): first there are fewer instances, then fewer threads.
- A picture alone is computed by up to `LONE_THREADS` threads together, however few its instance has.
- A batch is what an instance computes in a round or two, `PICTURES_A_THREAD` a thread. `BATCHES_AN_INSTANCE` are under
  way for each: one is computed, one waits for it, and one is decoded, suppressed, or on its way. With two of them
  instances ran out of work: on 14 cores 657 images/s instead of 756, and four had 776.
- `nms` computes in its interpreter alone, about a tenth of what a network takes: one for each `CORES_A_NMS` cores.
- `decode` has a process a core, for as many as memory has room. Its own interpreter hands pictures out and tensors
  over, a quarter to a third of a millisecond for each: one for `CORES_A_DECODE` cores.
- A process of the gateway takes 7 % of what all others do, so that it would be full at 14 cores: one for 8.
- A video keeps about `CORES_A_VIDEO` cores busy.

What a person sets (`REELTAG_*`) comes before what `reeltag tune` found, and that before the rule; what is not set
follows from what is.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

from reeltag.errors import InvalidOption
from reeltag.machine import Machine, this_machine

THREADS: Final = 1
LARGE_CORES: Final = 48
LONE_THREADS: Final = 8
PICTURES_A_THREAD: Final = 4
"""Also what a thread is given at once; more are no faster on a CPU, and a thread keeps their memory."""
BATCHES_AN_INSTANCE: Final = 3
CORES_A_NMS: Final = 4
CORES_A_DECODE: Final = 8
CORES_A_GATEWAY: Final = 8
CORES_A_VIDEO: Final = 4
NETWORKS: Final = 3
"""Those that come with reeltag; who serves more of them on a small machine sets the number of instances."""

INSTANCE_MIB: Final = 180
"""Of an instance's process, its libraries and a network, whatever its threads."""
THREAD_MIB: Final = 60
"""More for each of its threads, in the mean of the networks that come with reeltag."""
DECODER_MIB: Final = 128
"""Of a process that decodes, between two pictures."""
REST_MIB: Final = 700
"""Of gateway, Triton, the guard, a worker of jobs, and the backends around the networks."""
LEAST_MIB: Final = 512
"""With less nothing serves: the processes are killed while they load."""

TUNED_FILE: Final = "tuned.json"
"""In the state folder: what `reeltag tune` found."""
_MOST_BATCH: Final = 32
_MOST_INFLIGHT: Final = 256
_MOST_WORKERS: Final = 64
_MOST_DECODES: Final = 16


@dataclass(frozen=True)
class Sizing:
    """What is chosen; every field is a setting of the same name, and its variable."""

    network_threads: int
    network_instances: int
    nms_instances: int
    decode_instances: int
    decode_workers: int
    queue_delay_microseconds: int
    batch_max_images: int
    max_inflight_requests: int
    max_waiting_images: int
    workers: int
    worker_slots: int
    tag_jobs: int


NAMES: Final = tuple(field.name for field in fields(Sizing))


def instance_mib(threads: int) -> int:
    """Resident memory of one instance of a network, MiB, in the mean of those that come with reeltag."""
    return INSTANCE_MIB + THREAD_MIB * threads


def by_rule(machine: Machine, *, threads: int | None = None, instances: int | None = None) -> Sizing:
    """What the rule says.

    Args:
        machine: What there is.
        threads: Of an instance of a network, where they are given; at least 1.
        instances: Of a network, where they are given; at least 1.
    """
    cores = machine.cores
    threads = threads or _threads(machine)
    if instances is None:
        instances = max(1, min(cores // threads, _room_mib(machine) // (NETWORKS * instance_mib(threads))))
    batch = min(_MOST_BATCH, max(8, PICTURES_A_THREAD * threads))
    in_flight = min(_MOST_INFLIGHT, BATCHES_AN_INSTANCE * instances)
    busy = min(cores, 2 * threads * instances)  # fewer than there are, where memory allows no more networks
    return Sizing(
        network_threads=threads,
        network_instances=instances,
        nms_instances=-(-busy // CORES_A_NMS),
        decode_instances=min(_MOST_DECODES, -(-busy // CORES_A_DECODE)),
        decode_workers=_decoders(machine),
        queue_delay_microseconds=0,
        batch_max_images=batch,
        max_inflight_requests=in_flight,
        max_waiting_images=max(256, 4 * batch * in_flight),
        workers=min(_MOST_WORKERS, -(-busy // CORES_A_GATEWAY)),
        worker_slots=max(2, cores // CORES_A_VIDEO),
        tag_jobs=max(2, cores // CORES_A_VIDEO),
    )


def _threads(machine: Machine) -> int:
    """Threads of an instance, so that all instances together have one for each core, as far as memory allows."""
    cores, room = machine.cores, _room_mib(machine) // NETWORKS
    few = min(cores, 2 * THREADS if cores >= LARGE_CORES else THREADS)
    most_instances = max(1, min(cores // few, room // instance_mib(few)))
    most_threads = max(1, (room // most_instances - INSTANCE_MIB) // THREAD_MIB)
    return max(1, min(cores // most_instances, most_threads))


def _decoders(machine: Machine) -> int:
    if machine.memory_mib is None:
        return machine.cores
    return max(1, min(machine.cores, machine.memory_mib // 4 // DECODER_MIB))


def _room_mib(machine: Machine) -> int:
    """Memory for the networks: four fifths of what is left, for what pictures and tensors take comes on top."""
    if machine.memory_mib is None:
        return 1 << 30
    return max(0, machine.memory_mib - REST_MIB - _decoders(machine) * DECODER_MIB // 2) * 4 // 5


@dataclass(frozen=True)
class Tuned:
    """What `reeltag tune` found on a machine."""

    cores: int
    memory_mib: int | None
    values: Mapping[str, int]
    """By the name of the setting."""
    gain: float
    """What it measured, of what the rule reached: above 1 is better."""
    said: str
    """For what, when and how it was tuned, in a sentence."""

    def fits(self, machine: Machine) -> bool:
        """Whether it was found with as many cores and no more memory than there is."""
        enough = self.memory_mib is None or (machine.memory_mib or self.memory_mib) >= self.memory_mib * 0.95
        return self.cores == machine.cores and enough

    def to_json(self) -> str:
        """Content of the file."""
        return json.dumps(asdict(self), indent=2) + "\n"


def read_tuned(state_dir: Path) -> Tuned | None:
    """What the state folder holds; None where nothing was tuned.

    Raises:
        InvalidOption: The file cannot be read, or is not one of ours.
    """
    path = state_dir / TUNED_FILE
    try:
        found = Tuned(**json.loads(path.read_text("utf-8")))
        odd = [name for name, value in found.values.items() if name not in NAMES or type(value) is not int or value < 0]
        if odd:
            raise ValueError(f"it names {', '.join(odd)}")
        return found
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InvalidOption(f"{path} cannot be used ({error}); run `reeltag tune` again, or delete it") from error


def default_of(name: str, data: Mapping[str, Any]) -> int:
    """A setting's default: what was tuned for such a machine, or what the rule says beside what is set.

    Args:
        name: Of the setting.
        data: The settings before it, with `state_dir`.
    """
    machine, tuned = this_machine(), read_tuned(data["state_dir"])
    if tuned is not None and name in tuned.values and tuned.fits(machine):
        return tuned.values[name]
    threads, instances = data.get("network_threads"), data.get("network_instances")
    return int(getattr(by_rule(machine, threads=threads, instances=instances), name))


def explained(values: Mapping[str, Any], given: Collection[str], state_dir: Path) -> str:
    """What is chosen and why, in a line.

    Args:
        values: The settings.
        given: Names of those that a person set.
        state_dir: Where what was tuned is kept.
    """
    machine, tuned = this_machine(), read_tuned(state_dir)
    tuned_names = tuned.values.keys() if tuned is not None and tuned.fits(machine) else ()

    def said(name: str, text: str) -> str:
        why = " (set)" if name in given else " (tuned)" if name in tuned_names else ""
        return f"{text.format(values[name])}{why}"

    parts = [
        said("network_instances", "{} of each network"),
        said("network_threads", "with {} thread" + "s" * (values["network_threads"] > 1)),
        said("nms_instances", "{} of nms"),
        said("decode_instances", "{} of decode"),
        said("decode_workers", "{} decoding processes"),
        said("batch_max_images", "batches of {}"),
        said("max_inflight_requests", "{} in flight"),
        said("max_waiting_images", "{} waiting"),
        said("workers", "{} of the gateway"),
        said("worker_slots", "{} segments of jobs"),
    ]
    mib = instance_mib(values["network_threads"]) * values["network_instances"]
    text = f"{machine}: {', '.join(parts)}; about {mib:,} MiB a network"
    needed = REST_MIB + NETWORKS * mib + values["decode_workers"] * DECODER_MIB // 2
    if machine.memory_mib is not None and needed > machine.memory_mib:
        text += f"; memory is tight: with {NETWORKS} networks all together take about {needed:,} MiB"
    if tuned is not None and not tuned.fits(machine):
        text += f"; {state_dir / TUNED_FILE} is of a machine with {tuned.cores} cores and ignored: run `reeltag tune`"
    return text


def shortage(machine: Machine) -> str | None:
    """What is missing for serving at all, and what would be enough; None where there is enough memory."""
    memory = machine.memory_mib
    if memory is None or memory >= LEAST_MIB:
        return None
    enough = REST_MIB + NETWORKS * instance_mib(1) + DECODER_MIB
    return (
        f"this process may use {memory} MiB of memory, in which no server comes up; allow it {enough:,} MiB or more, "
        f"such as with `docker run --memory={-(-enough // 1024)}g`, or name a server elsewhere with --triton-url"
    )
