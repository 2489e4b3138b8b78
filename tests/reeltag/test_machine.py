from __future__ import annotations

from pathlib import Path

import pytest

from reeltag.machine import Machine, this_machine

MIB = 1 << 20


def tree(root: Path, files: dict[str, str]) -> Path:
    """A machine of 16 GiB with these files."""
    for name, text in {"proc/meminfo": "MemTotal:       16777216 kB\nMemFree: 1 kB\n", **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "quota", "mib"),
    [
        ({}, None, 16384),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, None, 16384),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"}, 0.5, 16384),
        # systemd: the group's parent allows less than the group itself
        (
            {
                "proc/self/cgroup": "0::/a.slice/b.scope\n",
                "sys/fs/cgroup/a.slice/cpu.max": "200000 100000\n",
                "sys/fs/cgroup/a.slice/b.scope/cpu.max": "350000 100000\n",
                "sys/fs/cgroup/a.slice/memory.max": "max\n",
                "sys/fs/cgroup/a.slice/b.scope/memory.max": f"{200 * MIB}\n",
            },
            2.0,
            200,
        ),
        # version 1 in a container, which sees its own group as the root though its path names another one
        (
            {
                "proc/self/cgroup": "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "150000\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{2048 * MIB}\n",
            },
            1.5,
            2048,
        ),
        (
            {
                "proc/self/cgroup": "1:cpu:/\n4:memory:/\n0::/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            },
            None,
            16384,
        ),
    ],
)
def test_limits_of_control_groups(tmp_path: Path, files: dict[str, str], quota: float | None, mib: int) -> None:
    found = this_machine(tree(tmp_path, files))
    assert (found.quota, found.memory_mib) == (quota, mib)


@pytest.mark.parametrize(
    ("affinity", "quota", "cores"), [(16, None, 16), (16, 0.5, 1), (16, 7.5, 7), (2, 7.5, 2), (1, None, 1)]
)
def test_threads_that_may_compute_at_one_time(affinity: int, quota: float | None, cores: int) -> None:
    assert Machine(affinity, quota, None).cores == cores


def test_it_says_why_there_are_fewer_cores_than_the_machine_has() -> None:
    assert str(Machine(16, 7.5, 8192 * MIB)) == "7 cores (16 by affinity, 7.5 by its control group), 8,192 MiB"
    assert str(Machine(1, None, None)) == "1 core"
