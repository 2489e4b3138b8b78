"""The log: lines that nobody can forge, without secrets, as text and as JSON."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from gateway.observing.logs import JsonFormatter, RepeatFilter, TextFormatter, plain
from tests.gateway.fakes import encoded
from tests.gateway.running import running

KEY = "rt_0123456789ab_" + "S" * 43
EVIL = "a\nERROR forged\r\x1b[31mred\u2028\u202eesrever\x00\x85 end"


@pytest.fixture(params=[TextFormatter, JsonFormatter])
def written(request: pytest.FixtureRequest) -> tuple[logging.Logger, io.StringIO]:
    stream, logger = io.StringIO(), logging.Logger("test")
    handler = logging.StreamHandler(stream)
    handler.setFormatter(request.param())
    logger.addHandler(handler)
    return logger, stream


def test_a_line_stays_a_line(written: tuple[logging.Logger, io.StringIO]) -> None:
    logger, stream = written
    logger.info("%s was refused", EVIL, extra={"fields": {"path": EVIL}})
    (line,) = stream.getvalue().splitlines()
    said = json.loads(line)["message"] if line.startswith("{") else line
    assert "ERROR forged" in said
    assert said.isprintable()
    assert "\\x1b" in said


def test_no_line_of_a_traceback_looks_like_one_of_the_log(written: tuple[logging.Logger, io.StringIO]) -> None:
    logger, stream = written
    try:
        raise ValueError(f"no\n2026-11-26 00:00:00,000 ERROR gateway: forged {KEY}")
    except ValueError:
        logger.exception("it failed")
    text = stream.getvalue()
    assert "Traceback" in text
    assert "S" * 10 not in text
    starts = [line for line in text.splitlines() if line.startswith(("2026-11-26 00", "ERROR"))]
    assert not starts
    if text.startswith("{"):
        assert "forged" in json.loads(text)["exception"]


@pytest.mark.parametrize(
    ("said", "written_as"),
    [
        (f"key {KEY} was sent", "key rt_0123456789ab_*** was sent"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
        ("authorization: Basic dXNlcjpwdw==", "authorization: Basic ***"),
        ("bearer abcdef", "bearer ***"),
        ("GET https://u:p@host/a.jpg?sig=abc&x=1 failed", "GET https://***@host/a.jpg?*** failed"),
        ("postgresql://u:p@host/db", "postgresql://***@host/db"),
        ("https://host/plain.jpg", "https://host/plain.jpg"),
    ],
)
def test_secrets_are_left_out(said: str, written_as: str) -> None:
    assert plain(said) == written_as


def test_long_messages_are_cut() -> None:
    assert len(plain("x" * 100_000)) < 5000


def test_lines_of_work_that_was_done_are_all_written_those_of_failures_are_counted() -> None:
    repeats = RepeatFilter()

    def passed(message: str, **extra: bool) -> int:
        record = logging.makeLogRecord({"name": "r", "msg": message, "levelno": logging.INFO, **extra})
        return sum(repeats.filter(record) for _ in range(100))

    assert passed("%s %s in %.1f ms", always=True) == 100
    assert passed("%s 429 in %.1f ms") == 20


def lines_of(log: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.splitlines()]


def test_json_lines_of_a_running_gateway(tmp_path: Path) -> None:
    with running(tmp_path, log_format="json") as server:
        picture = encoded()
        headers = {"X-Request-ID": "good", "Authorization": f"Bearer {KEY}"}
        files = [("file", (EVIL, picture)), ("file", ("b", b"x"))]
        assert server.client.post("/v1/images", files=files, headers=headers).status_code == 200
        assert server.client.post(f"/v1/images?tasks={KEY}", content=picture).status_code == 422
        answers = server.say(b"GET /v1/%0AERROR%20" + KEY.encode() + b"\xff HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"404" in answers or b"400" in answers
        server.client.get("/healthz")
        log = server.log
    lines = lines_of(log)  # every line is JSON, from the first to the last
    assert {"time", "level", "logger", "message"} <= set.intersection(*(set(line) for line in lines))
    (good,) = [line for line in lines if line.get("request_id") == "good"]
    assert good["message"].startswith("POST /v1/images 200 in ")
    assert (good["method"], good["path"], good["status"], good["images"]) == ("POST", "/v1/images", 200, 2)
    assert good["batches"] == ["good"]
    assert set(good["stages"]) == {"receive", "check", "queue", "infer", "serialise"}
    assert good["received_bytes"] > len(picture)
    assert sum(good["stages"].values()) <= good["seconds"]
    (refused,) = [line for line in lines if line.get("status") == 422]
    assert refused["errors"] == ["unknown_task"]
    assert "S" * 10 not in log
    assert not [line for line in lines if line.get("path") == "/healthz"], "probes are no news"


def test_text_lines_of_a_running_gateway(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        server.client.post("/v1/images", content=encoded(), headers={"X-Request-ID": "good"})
        server.say(b"GET /v1/%0Aforged HTTP/1.1\r\nHost: x\r\n\r\n")
        (line,) = [line for line in server.log.splitlines() if "[request good]" in line]
        assert " INFO gateway.requests: POST /v1/images 200 in " in line
        assert not [line for line in server.log.splitlines() if line.startswith("forged")]
