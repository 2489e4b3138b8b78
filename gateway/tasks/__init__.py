"""The tasks that the gateway answers, one file each.

A new task is a member of `reeltag.contract.Task` with its tensors, a file here, its place in `TASKS` and among the
bases of `gateway.answering.schemas.ImageResult`, and its field in `reeltag/v1/tagging.proto`. Routes, batching and
`gateway.tagging` know none by name.
"""

from __future__ import annotations

from typing import Final

from gateway.tasks.classify import CLASSIFY
from gateway.tasks.detect import DETECT
from gateway.tasks.segment import SEGMENT
from gateway.tasks.task import Asked, TaskAnswers
from reeltag.contract import Task

TASKS: Final[dict[Task, TaskAnswers]] = {answers.task: answers for answers in (DETECT, CLASSIFY, SEGMENT)}

__all__ = ["TASKS", "Asked", "TaskAnswers"]
