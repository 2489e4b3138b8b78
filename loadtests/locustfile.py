"""Locust's entry: users of the service, how many there are, and what is noted of them.

`locust -f loadtests/locustfile.py --headless --host http://127.0.0.1:8000 RestSingle` runs it without `python -m
loadtests`; classes that are named on the command line are those that are used.
"""

from __future__ import annotations

import itertools
import os
import platform
from pathlib import Path
from typing import Any

import gevent
import grpc.experimental.gevent as grpc_gevent
from locust import LoadTestShape, events, runners
from locust.runners import MasterRunner, WorkerRunner

from loadtests import shapes
from loadtests.jobs import VodJob, VodWatcher
from loadtests.known import read_pictures
from loadtests.report import write_report
from loadtests.samples import Sampler, percentile, together
from loadtests.state import State
from loadtests.users import IMAGES_OF, GrpcSingle, GrpcStream, GrpcUnary, MixedRest, RestForm, RestSingle
from loadtests.verdict import Gates, judge

__all__ = [
    "GrpcSingle",
    "GrpcStream",
    "GrpcUnary",
    "Load",
    "MixedRest",
    "RestForm",
    "RestSingle",
    "VodJob",
    "VodWatcher",
]

runners.WORKER_REPORT_INTERVAL = runners.CPU_MONITOR_INTERVAL = 1.0  # samples are a second long
# A call then waits as a greenlet, not as the whole process; but a thread of gevent's pool waits for it, and there are
# ten: with more calls an answer would be heard only when another one came.
gevent.get_hub().threadpool.maxsize = 4096
grpc_gevent.init_gevent()


def _options(parser: Any) -> None:
    group = parser.add_argument_group("reeltag")
    group.add_argument("--load", choices=("constant", "ramp", "spike", "soak", "knee"), default="constant")
    group.add_argument("--peak-users", type=int, default=32, help="users of a constant load, most of the others")
    group.add_argument("--seconds", type=float, default=60, help="length; the search for the knee ends by itself")
    group.add_argument("--pictures", default="out/loadtest/pictures", help="folder of JPEGs to send")
    group.add_argument("--video", action="append", default=[], help="what jobs are made of, as the server knows it")
    group.add_argument("--videos-per-job", type=int, default=1)
    group.add_argument("--delete-jobs", action="store_true", help="each job is deleted at its end, with its results")
    group.add_argument("--grpc-target", default="127.0.0.1:8001", help="HOST:PORT of the gateway's gRPC")
    group.add_argument("--api-key", default="", env_var="REELTAG_API_KEY", help="sent as Authorization: Bearer")
    group.add_argument("--impatient", action="store_true", help="users ignore Retry-After")
    group.add_argument("--report", default="out/loadtest", help="folder of the page")
    group.add_argument("--max-error-share", type=float, default=0.0)
    group.add_argument("--max-p99-ms", type=float, default=None)
    group.add_argument("--min-images-per-second", type=float, default=None)


def _prepare(environment: Any, **_: Any) -> None:
    """Read what is asked; a worker hears that, and of which server, only when the test begins."""
    if isinstance(environment.runner, WorkerRunner):
        return
    options = environment.parsed_options
    if not isinstance(environment.runner, MasterRunner):
        _read_pictures(environment)
    if options.load == "knee":
        State.search = shapes.KneeSearch((options.max_p99_ms or 1000) / 1000, options.peak_users)
    gevent.spawn(_note_each_second, environment)


def _begin(environment: Any, **_: Any) -> None:
    if isinstance(environment.runner, WorkerRunner):
        _read_pictures(environment)


def _read_pictures(environment: Any) -> None:
    options = environment.parsed_options
    State.headers = {"Authorization": f"Bearer {options.api_key}"} if options.api_key else {}
    State.grpc_target, State.is_impatient = options.grpc_target, options.impatient
    State.videos, State.videos_per_job = itertools.cycle(options.video), options.videos_per_job
    State.deletes_jobs = options.delete_jobs
    kinds = set(environment.user_classes)
    if VodJob in kinds and not options.video:
        raise SystemExit("which videos? Give --video PATH, as often as wanted, below a --source-root of the server")
    if kinds <= {VodJob, VodWatcher}:
        return
    State.pictures = itertools.cycle(read_pictures(Path(options.pictures), environment.host, State.headers))


def _note_each_second(environment: Any) -> None:
    sampler = Sampler(environment.stats, IMAGES_OF, environment.host)
    while environment.runner.state != "stopped":
        gevent.sleep(1)
        if environment.runner.state in ("spawning", "running"):
            State.samples.append(sampler.sample(environment.runner.user_count, _client_cpu(environment.runner)))


def _client_cpu(runner: Any) -> float:
    if isinstance(runner, MasterRunner):
        return max((worker.cpu_usage for worker in runner.clients.values()), default=0.0) / 100
    return float(runner.current_cpu_usage) / 100


def _conclude(environment: Any, **_: Any) -> None:
    if isinstance(environment.runner, WorkerRunner) or environment.runner is None:
        return
    options, stats = environment.parsed_options, environment.stats
    gates = Gates(
        options.max_error_share,
        None if options.max_p99_ms is None or State.search else options.max_p99_ms / 1000,
        options.min_images_per_second,
    )
    knee = State.search.knee() if State.search else None
    verdict = judge(State.samples, gates, stats.total.num_requests, stats.total.num_failures, knee)
    kinds = [
        [entry.name, str(entry.num_requests), str(entry.num_failures), f"{entry.median_response_time or 0:.0f}",
         f"{entry.get_response_time_percentile(0.99) or 0:.0f}"]
        for entry in sorted(stats.entries.values(), key=lambda entry: entry.name)
    ]  # fmt: skip
    page = write_report(
        Path(options.report),
        f"{options.load}, {', '.join(environment.runner.user_classes_count or ())}",
        verdict,
        State.samples,
        stages=State.search.stages if State.search else (),
        kinds=kinds,
        errors=[f"{error.occurrences} x {error.name}: {error.error}" for error in stats.errors.values()],
        where=f"{environment.host}, asked from {platform.node()} with {os.cpu_count()} cores.",
    )
    print("\n".join(verdict.sentences))
    print(f"Report: {page}")
    environment.process_exit_code = 0 if verdict.passed else 1


events.init_command_line_parser.add_listener(_options)
events.init.add_listener(_prepare)
events.test_start.add_listener(_begin)
events.quitting.add_listener(_conclude)


class Load(LoadTestShape):
    """The shape that was asked for; the search for the knee decides as it goes."""

    def __init__(self) -> None:
        super().__init__()
        self._users_at: shapes.UsersAt | None = None
        self._stage_began = 0.0
        self._stage_users = 1

    def tick(self) -> tuple[int, float] | None:
        """Users wanted now, and how many may come each second; None at the end."""
        runner: Any = self.runner
        options = runner.environment.parsed_options
        if State.search is not None:
            users = self._searched(State.search)
        else:
            kind = {"ramp": shapes.ramp, "spike": shapes.spike}.get(options.load, shapes.constant)
            self._users_at = self._users_at or kind(options.peak_users, options.seconds)
            users = self._users_at(self.get_run_time())
        return None if users is None else (users, max(users, 1))

    def _searched(self, search: shapes.KneeSearch) -> int | None:
        now = self.get_run_time()
        if now - self._stage_began < shapes.KNEE_STAGE_SECONDS:
            return self._stage_users
        counted = [one for one in State.samples if one.elapsed_seconds > now - shapes.KNEE_STAGE_SECONDS * 2 / 3]
        rates = [one.images_per_second for one in counted]
        mean = sum(rates) / len(rates) if rates else 0.0
        search.stages.append(shapes.Stage(self._stage_users, mean, percentile(together(counted), 0.99)))
        users = search.next_users()
        self._stage_began, self._stage_users = now, users or 0
        return users
