"""Processes of `reeltag serve` and `reeltag tag` are killed and stopped: nothing is lost, nothing is wrong."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from exporters.catalogue.packages import demo_video
from tests.e2e.conftest import REELTAG, Service, free_port, jpeg
from tests.reeltag.embedded.family import Family, all_ended, family_of, wait_until

COMES_BACK_SECONDS = 60
QUESTION = "v1/images?tasks=detect,classify&score_threshold=0.01"


def ask(service: Service, image: bytes) -> httpx.Response:
    return httpx.post(f"{service.url}/{QUESTION}", content=image, headers={"Content-Type": "image/jpeg"}, timeout=60)


def family(service: Service) -> Family:
    return family_of(httpx.get(f"{service.url}/v1/models").json()["triton"]["grpc_url"])


def ready(service: Service) -> bool:
    return httpx.get(f"{service.url}/readyz").status_code == 200


def kill_server(family: Family) -> None:
    family.server.kill()


def kill_decode(family: Family) -> None:
    family.backends["decode"].kill()


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (kill_server, "tritonserver was killed by SIGKILL"),
        (kill_decode, "the backend of decode died"),
    ],
)
def test_what_was_killed_is_503_and_comes_back(service: Service, harm: Callable[[Family], None], said: str) -> None:
    assert wait_until(lambda: ready(service), COMES_BACK_SECONDS)
    assert ask(service, jpeg()).status_code == 200
    harm(family(service))
    answers = [ask(service, jpeg())]
    assert answers[0].status_code == 503
    assert wait_until(lambda: not ready(service), 5)
    while not ready(service):
        answers.append(ask(service, jpeg()))
        assert httpx.get(f"{service.url}/healthz").status_code == 200
        time.sleep(0.2)
    for answer in answers:
        assert answer.status_code == 200 or (answer.status_code == 503 and int(answer.headers["Retry-After"]) > 0)
    assert ask(service, jpeg()).status_code == 200
    assert said in service.log.read_text()


@contextmanager
def clients(service: Service, images: list[bytes]) -> Iterator[list[tuple[int, httpx.Response]]]:
    """Four clients that ask about the images in turns; what they were answered, by image."""
    answers: list[tuple[int, httpx.Response]] = []
    done = threading.Event()

    def go_on(i: int) -> None:
        while not done.is_set():
            i = (i + 3) % len(images)
            answers.append((i, ask(service, images[i])))

    threads = [threading.Thread(target=go_on, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        done.set()
        for thread in threads:
            thread.join()


def shows(answer: httpx.Response, right: httpx.Response) -> bool:
    """Whether it is the answer to the same picture; batches of another size differ in the last digits."""
    got, wanted = (one.json()["results"][0] for one in (answer, right))
    best = got["detections"][0]
    return got["width"] == wanted["width"] and any(
        best["label"] == one["label"] and best["box"] == pytest.approx(one["box"], abs=2)
        for one in wanted["detections"][:3]
    )


def test_a_pause_of_everything_under_load_gives_no_answer_of_another_picture(service: Service) -> None:
    """As `docker pause`; without care, one in three such pauses gave boxes of another picture."""
    assert wait_until(lambda: ready(service), COMES_BACK_SECONDS)
    images = [jpeg(640 + 8 * i, 480, seed=i) for i in range(16)]
    right = [ask(service, image) for image in images]
    assert not any(shows(one, other) for one in right for other in right if one is not other)
    stopped = family(service)
    everyone = [*stopped.everyone, service.process]
    with clients(service, images) as answers:
        time.sleep(1)
        for process in everyone:
            process.suspend()
        time.sleep(4)
        for process in reversed(everyone):
            process.resume()
        assert wait_until(lambda: all_ended([stopped.server]) and ready(service), COMES_BACK_SECONDS)
        time.sleep(0.5)
    assert {answer.status_code for _, answer in answers} <= {200, 503}
    assert all("Retry-After" in answer.headers for _, answer in answers if answer.status_code == 503)
    for i, answer in answers:
        if answer.status_code == 200:
            assert shows(answer, right[i])
    assert "stood still" in service.log.read_text()


@pytest.mark.parametrize("moment", ["at once", "while Triton loads"])
def test_a_stop_during_the_start_is_quick_and_leaves_nothing(
    model_repository: Path, tmp_path: Path, moment: str
) -> None:
    command = [
        REELTAG,
        "serve",
        "--port",
        str(free_port()),
        "--grpc-port",
        "0",
        "--model-repository",
        str(model_repository),
    ]
    with (tmp_path / "log").open("w") as log, subprocess.Popen(command, stderr=log) as process:
        own = psutil.Process(process.pid)

        def far_enough() -> bool:
            wanted = "tritonserver" if moment == "while Triton loads" else "python"
            return any(p.name().startswith(wanted) for p in own.children(recursive=True))

        assert wait_until(far_enough, 60)
        everyone = own.children(recursive=True)
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) != 0
    assert wait_until(lambda: all_ended(everyone), 2)
    assert not list(Path(tempfile.gettempdir()).glob(f"reeltag-triton-{process.pid}-*"))
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_no_room_for_temporary_files_is_said(model_repository: Path, tmp_path: Path) -> None:
    """A limit on the size of files stands in for a full disk: the backend's program is 1.3 MB."""
    (tmp_path / "in.jpg").write_bytes(jpeg())
    command = [REELTAG, "tag", str(tmp_path / "in.jpg"), "--out", str(tmp_path / "out")]
    ended = subprocess.run(
        [*command, "--model-repository", str(model_repository)],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert "TMPDIR" in ended.stderr
    assert str(tmp_path) in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not list(tmp_path.glob("reeltag-triton-*"))


def test_tagging_with_a_server_of_its_own_loses_nothing_when_a_backend_is_killed(
    service: Service, model_repository: Path, tmp_path: Path
) -> None:
    assert wait_until(lambda: ready(service), COMES_BACK_SECONDS)
    video = demo_video(tmp_path)
    (tmp_path / "in").mkdir()
    for i in range(12):
        (tmp_path / "in" / f"{i}.jpg").write_bytes(jpeg(seed=i))
    command = [REELTAG, "tag", str(video), str(tmp_path / "in"), "--out"]
    subprocess.run([*command, str(tmp_path / "right"), "--url", service.url], check=True, capture_output=True)
    command += [str(tmp_path / "out"), "--model-repository", str(model_repository)]
    with (tmp_path / "log").open("w") as log, subprocess.Popen(command, stderr=log, stdout=log) as process:
        out = tmp_path / "out"
        assert wait_until(lambda: bool(list(Path("/dev/shm").glob(f"reeltag_{process.pid}_*"))), 60)
        (folder,) = Path(tempfile.gettempdir()).glob(f"reeltag-triton-{process.pid}-*")
        assert process.poll() is None
        family_of(f"unix:{folder}/grpc:1").backends["nanodet_g"].kill()
        assert process.wait(120) == 0
    assert "the backend of nanodet_g died" in (tmp_path / "log").read_text()
    for path in (tmp_path / "right").rglob("*.tags.json"):
        assert told(out / path.relative_to(tmp_path / "right")) == told(path)


def told(path: Path) -> Any:
    """What a result says, scores rounded: batches of another size differ in the last digits."""
    tags = json.loads(path.read_text())
    return [(tag["label"], tag.get("intervals")) for tag in tags["tags"]], tags.get("shots"), tags.get("coverage")
