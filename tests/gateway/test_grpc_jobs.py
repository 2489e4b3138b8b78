"""`reeltag.v1.Jobs` over real gRPC, before jobs that live in the test."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import MessageToDict
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from gateway.app import create_app
from gateway.grpc.jobs_service import PIECE_BYTES, SERVICE
from reeltag.errors import DatabaseAway
from reeltag.keys import KeyFile
from reeltag.settings import Settings
from reeltag.v1 import jobs_pb2 as pb
from reeltag.v1.jobs_pb2_grpc import JobsStub
from tests.gateway import fake_jobs
from tests.gateway.fake_jobs import TAGS, FakeJobs
from tests.gateway.fakes import FakeTagger, serving, wait_until
from tests.gateway.test_grpc import failure
from vod.client import JobState

CODE = grpc.StatusCode


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FakeJobs, grpc.Channel]]:
    jobs, settings = FakeJobs(), Settings(port=0, drain_seconds=0, state_dir=tmp_path_factory.mktemp("state"))
    app = create_app(settings, FakeTagger(), grpc_port=0, jobs=jobs)
    with serving(app, settings), grpc.insecure_channel(f"127.0.0.1:{app.state.grpc_port}") as channel:
        yield jobs, channel


@pytest.fixture
def jobs(served: tuple[FakeJobs, grpc.Channel]) -> FakeJobs:
    served[0].reset()
    return served[0]


@pytest.fixture
def stub(served: tuple[FakeJobs, grpc.Channel], jobs: FakeJobs) -> JobsStub:
    return JobsStub(served[1])


def submit(stub: JobsStub, *sources: str, **more: Any) -> str:
    return stub.Submit(pb.SubmitRequest(sources=sources, **more)).id


def test_a_job_goes_its_way(stub: JobsStub, jobs: FakeJobs) -> None:
    request = pb.SubmitRequest(sources=["a.mp4", "b.mp4"], priority=2, webhook="https://example.org/hook")
    request.options.update({"fps": 4, "frames": True})
    submitted = stub.Submit(request)
    assert submitted.state == pb.QUEUED
    job = stub.Get(pb.GetRequest(id=submitted.id))
    assert (job.priority, list(job.sources), MessageToDict(job.options)) == (2, ["a.mp4", "b.mp4"], {
        "fps": 4.0, "frames": True
    })  # fmt: skip
    assert (job.progress.videos_total, job.HasField("coverage"), job.progress.HasField("rate")) == (2, False, False)
    assert stub.Cancel(pb.CancelRequest(id=job.id)).state == pb.CANCELLED
    code, reason, _ = failure(stub.Cancel, pb.CancelRequest(id=job.id))
    assert (code, reason) == (CODE.FAILED_PRECONDITION, "JOB_CONFLICT")
    assert stub.Resume(pb.ResumeRequest(id=job.id)).state == pb.QUEUED
    jobs.finish(job.id, JobState.FAILED)
    (error,) = stub.Get(pb.GetRequest(id=job.id)).errors
    assert (error.source, error.code) == ("a.mp4", "video_error")
    assert stub.ListVideos(pb.ListVideosRequest(id=job.id)).videos[1].error.message == "it is damaged"
    (delivery,) = stub.ListDeliveries(pb.ListDeliveriesRequest(id=job.id)).deliveries
    assert (delivery.state, delivery.attempts[0].status) == (pb.Delivery.DELIVERED, 204)
    assert stub.Redeliver(pb.RedeliverRequest(id=job.id, delivery_id=delivery.id)).state == pb.Delivery.WAITING
    assert stub.Retry(pb.RetryRequest(id=job.id)).state == pb.QUEUED
    jobs.finish(job.id)
    stub.Delete(pb.DeleteRequest(id=job.id))
    assert failure(stub.Get, pb.GetRequest(id=job.id))[:2] == (CODE.NOT_FOUND, "JOB_NOT_FOUND")


def test_errors_are_those_of_rest(stub: JobsStub, jobs: FakeJobs) -> None:
    for request, reason in (
        (pb.SubmitRequest(), "INVALID_OPTION"),
        (pb.SubmitRequest(sources=["a.mp4"], priority=10), "INVALID_OPTION"),
        (pb.SubmitRequest(sources=["a.mp4"], webhook="ftp://x"), "INVALID_OPTION"),
        (pb.SubmitRequest(sources=["/etc/passwd"]), "OUTSIDE_ROOTS"),
    ):
        assert failure(stub.Submit, request)[:2] == (CODE.INVALID_ARGUMENT, reason)
    submit(stub, "a.mp4", idempotency_key="k")
    other = pb.SubmitRequest(sources=["b.mp4"], idempotency_key="k")
    assert failure(stub.Submit, other)[:2] == (CODE.FAILED_PRECONDITION, "IDEMPOTENCY_MISMATCH")
    assert failure(stub.List, pb.ListRequest(limit=501))[1] == "INVALID_OPTION"
    assert failure(stub.List, pb.ListRequest(states=[pb.JOB_STATE_UNSPECIFIED]))[1] == "INVALID_OPTION"
    assert failure(lambda request: list(stub.Watch(request)), pb.WatchRequest(id="none"))[0] == CODE.NOT_FOUND
    assert failure(lambda request: list(stub.Results(request)), pb.ResultsRequest(id="../x"))[0] == CODE.NOT_FOUND
    jobs.error = DatabaseAway("away")
    assert failure(stub.Get, pb.GetRequest(id="a")) == (CODE.UNAVAILABLE, "DATABASE_AWAY", 5)


def test_lists_come_in_pages(stub: JobsStub, jobs: FakeJobs) -> None:
    ids = [submit(stub, f"{i}.mp4") for i in range(5)]
    first = stub.List(pb.ListRequest(limit=3))
    second = stub.List(pb.ListRequest(limit=3, cursor=first.next_cursor))
    assert [job.id for job in (*first.jobs, *second.jobs)] == ids[::-1]
    assert second.next_cursor == ""
    jobs.finish(ids[2])
    assert [job.id for job in stub.List(pb.ListRequest(states=[pb.SUCCEEDED])).jobs] == [ids[2]]


def test_results_come_in_pieces(stub: JobsStub, jobs: FakeJobs, monkeypatch: pytest.MonkeyPatch) -> None:
    large = b'{"a": "' + b"x" * (2 * PIECE_BYTES) + b'"}'
    job_id = submit(stub, "a.mp4", "b.mp4")
    jobs.finish(job_id)
    assert [(one.video, one.data, one.is_last) for one in stub.Results(pb.ResultsRequest(id=job_id))] == [
        (0, TAGS, True),
        (1, TAGS, True),
    ]
    monkeypatch.setattr(fake_jobs, "TAGS", large)
    pieces = list(stub.Results(pb.ResultsRequest(id=job_id, video=1)))
    assert [(one.video, one.is_last) for one in pieces] == [(1, False), (1, False), (1, True)]
    assert b"".join(one.data for one in pieces) == large
    (parquet,) = stub.Results(pb.ResultsRequest(id=job_id, format=pb.ResultsRequest.PARQUET))
    assert (parquet.data, parquet.HasField("video")) == (b"PAR1", False)
    vtt = pb.ResultsRequest(id=job_id, format=pb.ResultsRequest.VTT)
    assert failure(lambda request: list(stub.Results(request)), vtt)[1] == "INVALID_OPTION"


def test_watching_tells_each_change_until_the_end(stub: JobsStub, jobs: FakeJobs) -> None:
    job_id = submit(stub, "a.mp4")
    told: list[int] = []
    stream = stub.Watch(pb.WatchRequest(id=job_id))
    listening = threading.Thread(target=lambda: told.extend(job.state for job in stream))
    listening.start()
    wait_until(lambda: jobs.watching == 1)
    jobs.change(job_id, state=JobState.RUNNING)
    wait_until(lambda: jobs.watching == 1)
    jobs.finish(job_id)
    listening.join(5)
    assert not listening.is_alive()
    assert (told[0], told[-1]) == (pb.QUEUED, pb.SUCCEEDED)
    left = stub.Watch(pb.WatchRequest(id=submit(stub, "b.mp4")))
    next(left)
    left.cancel()
    wait_until(lambda: jobs.watching == 0)


def test_tenants_see_their_own_only(tmp_path: Path) -> None:
    keys = KeyFile(tmp_path / "keys.json")
    (_, ours), (_, theirs) = keys.create("ours"), keys.create("theirs")
    settings = Settings(port=0, drain_seconds=0, keys_file=tmp_path / "keys.json", state_dir=tmp_path)
    app = create_app(settings, FakeTagger(), grpc_port=0, jobs=FakeJobs())
    with serving(app, settings), grpc.insecure_channel(f"127.0.0.1:{app.state.grpc_port}") as channel:
        stub = JobsStub(channel)
        assert failure(stub.List, pb.ListRequest())[0] == CODE.UNAUTHENTICATED
        mine = (("authorization", f"Bearer {ours}"),)
        other = (("authorization", f"Bearer {theirs}"),)
        job_id = stub.Submit(pb.SubmitRequest(sources=["a.mp4"]), metadata=mine).id
        assert not stub.List(pb.ListRequest(), metadata=other).jobs
        for call, request in (
            (stub.Get, pb.GetRequest(id=job_id)),
            (stub.Cancel, pb.CancelRequest(id=job_id)),
            (stub.Delete, pb.DeleteRequest(id=job_id)),
        ):
            assert failure(call, request, metadata=other)[0] == CODE.NOT_FOUND
        assert stub.Get(pb.GetRequest(id=job_id), metadata=mine).state == pb.QUEUED


def test_it_is_shown_and_says_how_it_is(served: tuple[FakeJobs, grpc.Channel]) -> None:
    shown = ProtoReflectionDescriptorDatabase(served[1])
    assert SERVICE in shown.get_services()
    assert shown.FindFileContainingSymbol(SERVICE).name == "reeltag/v1/jobs.proto"
    health: Any = health_pb2_grpc.HealthStub(served[1])
    wait_until(lambda: health.Check(health_pb2.HealthCheckRequest(service=SERVICE)).status == 1)
