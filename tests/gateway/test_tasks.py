"""Each task is said in one place; what is common to all names none."""

from __future__ import annotations

import inspect
import re
from types import ModuleType

import pytest

from gateway import batching, tagging
from gateway.answering.schemas import ImageResult
from gateway.grpc import messages, service
from gateway.queueing import ways
from gateway.routes import images
from gateway.tasks import TASKS
from gateway.tritons import catalogue
from reeltag.contract import Task
from reeltag.v1 import tagging_pb2 as pb

COMMON = {"name", "width", "height", "error"}


def test_every_task_has_its_answers() -> None:
    assert set(TASKS) == set(Task)


def test_a_result_is_made_of_the_fields_of_the_tasks() -> None:
    of_tasks = [name for answers in TASKS.values() for name in answers.fields.model_fields]
    assert len(set(of_tasks)) == len(of_tasks)
    assert set(ImageResult.model_fields) == COMMON | set(of_tasks)
    assert {field.name for field in pb.ImageResult.DESCRIPTOR.fields} == COMMON | set(of_tasks)


@pytest.mark.parametrize("module", [images, tagging, batching, ways, catalogue, messages, service])
def test_what_is_common_names_no_task(module: ModuleType) -> None:
    assert not re.findall(r"\bTask\.[A-Z]+\b", inspect.getsource(module))
