"""Requests made from `/openapi.json`, right and wrong ones: no 5xx, and every answer as it is described there.

The long form, against any server:

    SCHEMATHESIS_HOOKS=tests/gateway/schemathesis_hooks.py schemathesis \
        --config-file tests/gateway/schemathesis.toml run http://127.0.0.1:8000/openapi.json \
        --checks all --continue-on-failure --max-examples 2000 --workers 2

Here the seed is a fixed one, so that a change is judged by what it changed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.gateway.running import running

CONFIG = Path(__file__).with_name("schemathesis.toml")
HOOKS = Path(__file__).with_name("schemathesis_hooks.py")
SCHEMATHESIS = str(Path(sys.executable).parent / "schemathesis")


def test_no_answer_is_a_fault_or_other_than_described(tmp_path: Path) -> None:
    with running(tmp_path, max_upload_bytes=100_000, state_dir=str(tmp_path / "state")) as server:
        # `cancel` stands for what is asked in the same way.
        alike = ["--exclude-path-regex", "/(resume|retry|deliveries|redeliver|secret)$"]
        options = [
            *alike,
            "--phases",
            "examples,coverage,fuzzing",
            "--checks",
            "all",
            "--continue-on-failure",
            "--max-examples",
            "12",
            "--seed",
            "1",
            "--no-color",
        ]
        ended = subprocess.run(
            [SCHEMATHESIS, "--config-file", CONFIG, "run", f"http://127.0.0.1:{server.port}/openapi.json", *options],
            cwd=tmp_path,
            env={**os.environ, "SCHEMATHESIS_HOOKS": str(HOOKS)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        cases = re.search(r"(\d+) generated", ended.stdout)
        assert cases is not None
        assert int(cases[1]) > 150, ended.stdout
        assert server.metric('reeltag_images_total{outcome="tagged"}') > 20, "many of them were right"
