"""Jobs as messages of `reeltag.v1`, and what is asked of them."""

from __future__ import annotations

from typing import Any

from google.protobuf.json_format import MessageToDict

from gateway.jobs.submitting import MAX_PAGE, USUAL_PAGE, checked_submission
from reeltag.errors import InvalidOption
from reeltag.v1 import jobs_pb2 as pb
from vod.client import Delivery, Job, JobError, JobState, JobVideo, Submission


def submission_of(request: pb.SubmitRequest) -> Submission:
    """What a job is to be made of, checked as over REST; `InvalidOption` where it is none."""
    given: dict[str, Any] = {"sources": list(request.sources), "options": MessageToDict(request.options)}
    if request.HasField("priority"):
        given["priority"] = request.priority
    if request.webhook:
        given["webhook"] = request.webhook
    return checked_submission(given)


def states_of(numbers: Any) -> list[JobState]:
    """The states that a list is asked for.

    Raises:
        InvalidOption: One is none.
    """
    try:
        return [JobState(pb.JobState.Name(number)) for number in numbers]
    except ValueError as error:
        raise InvalidOption(f"states: use some of {', '.join(JobState.__members__)}") from error


def limit_of(said: int) -> int:
    """Most entries of a page.

    Raises:
        InvalidOption: It is too large.
    """
    if said > MAX_PAGE:
        raise InvalidOption(f"limit={said}: a page has 1 to {MAX_PAGE} entries")
    return said or USUAL_PAGE


def job_message(job: Job) -> pb.Job:
    """A job."""
    message = pb.Job(
        id=job.id,
        state=state_number(job.state),
        progress=pb.JobProgress(**job.progress.model_dump(exclude_none=True)),
        errors=[_error(error) for error in job.errors],
        priority=job.priority,
        tenant=job.tenant,
        sources=job.sources,
        pipeline_version=job.pipeline_version,
        notice=job.notice or "",
        **job.model_dump(include={"coverage", "created_at", "started_at", "ended_at"}, exclude_none=True),
    )
    message.options.update(job.options)
    return message


def video_message(video: JobVideo) -> pb.JobVideo:
    """A video of a job."""
    plain = video.model_dump(exclude={"state", "gaps", "error", "preliminary_tags"}, exclude_none=True)
    gaps = [pb.Gap(**{name: gap[name] for name in ("start_seconds", "end_seconds", "reason")}) for gap in video.gaps]
    seen = [pb.PreliminaryTag(**tag) for tag in video.preliminary_tags]
    message = pb.JobVideo(state=state_number(video.state), gaps=gaps, preliminary_tags=seen, **plain)
    if video.error is not None:
        message.error.CopyFrom(_error(video.error))
    return message


def delivery_message(delivery: Delivery) -> pb.Delivery:
    """The message of a webhook."""
    attempts = [pb.Delivery.Attempt(**one.model_dump(exclude_none=True)) for one in delivery.attempts]
    plain = delivery.model_dump(exclude={"state", "attempts"}, exclude_none=True)
    return pb.Delivery(state=pb.Delivery.State.Value(delivery.state.value), attempts=attempts, **plain)


def state_number(state: JobState) -> pb.JobState.ValueType:
    """A state's number."""
    return pb.JobState.Value(state.value)


def _error(error: JobError) -> pb.JobError:
    return pb.JobError(**error.model_dump())
