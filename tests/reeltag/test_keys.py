from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from reeltag.cli import app
from reeltag.errors import InvalidOption, OutputError, SetupError
from reeltag.keys import KeyFile


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def test_a_key_is_found_and_its_secret_is_nowhere(file: Path) -> None:
    key, secret = KeyFile(file).create("archive", images_per_second=5, concurrent_requests=2)
    found = KeyFile(file).find(secret)
    assert found == key
    assert (key.tenant, key.images_per_second, key.concurrent_requests) == ("archive", 5, 2)
    assert secret.split("_", 2)[2] not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_what_is_no_good_key(file: Path) -> None:
    keys = KeyFile(file)
    key, secret = keys.create("archive")
    other, _ = keys.create("archive")
    wrong = secret[:-1] + ("A" if secret[-1] != "A" else "B")
    for presented in ("", "rt_", wrong, secret.upper(), secret + "A", secret.replace(key.id, other.id), "\u00e9" * 50):
        assert keys.find(presented) is None, presented


def test_a_revoked_key_is_worthless_at_once_in_who_has_read_it_before(file: Path) -> None:
    gateway = KeyFile(file)
    key, secret = KeyFile(file).create("archive")
    assert gateway.find(secret)
    KeyFile(file).revoke(key.id)
    assert gateway.find(secret) is None
    assert [one.revoked is not None for one in gateway.all()] == [True]
    with pytest.raises(InvalidOption, match="revoked already"):
        gateway.revoke(key.id)
    with pytest.raises(InvalidOption, match="no key 'nobody'"):
        gateway.revoke("nobody")


def test_two_that_make_keys_at_once_lose_none(file: Path) -> None:
    code = "import sys; from pathlib import Path; from reeltag.keys import KeyFile\n"
    code += "for _ in range(20): KeyFile(Path(sys.argv[1])).create('archive')"
    makers = [subprocess.Popen([sys.executable, "-c", code, str(file)]) for _ in range(3)]
    assert [maker.wait(60) for maker in makers] == [0, 0, 0]
    assert len(KeyFile(file).all()) == 60


@pytest.mark.parametrize("content", ["", "{", '[{"id": "a"}]', '[{"id": 1, "secret": "x"}]'])
def test_a_damaged_file_lets_nobody_in_and_says_so(file: Path, content: str) -> None:
    file.write_text(content)
    with pytest.raises(SetupError, match="cannot be read"):
        KeyFile(file).find("rt_x")


def test_mistakes(file: Path, tmp_path: Path) -> None:
    for tenant in ("", "a b", "x" * 65, "-a"):
        with pytest.raises(InvalidOption, match="tenant"):
            KeyFile(file).create(tenant)
    with pytest.raises(InvalidOption, match="images_per_second=0"):
        KeyFile(file).create("archive", images_per_second=0)
    (tmp_path / "no_folder").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        KeyFile(tmp_path / "no_folder" / "keys.json").create("archive")


def test_the_command_line(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = CliRunner().invoke
    made = run(app, ["keys", "create", "archive", "--images-per-second", "5", "--keys-file", str(file)])
    assert made.exit_code == 0
    (secret,) = [line for line in made.stdout.splitlines() if line.startswith("rt_")]
    (key,) = json.loads(file.read_text())
    assert KeyFile(file).find(secret)
    listed = run(app, ["keys", "list", "--keys-file", str(file)], env={"COLUMNS": "120"}).stdout
    assert key["id"] in listed
    assert "archive" in listed
    assert key["secret_sha256"][:10] not in listed
    assert run(app, ["keys", "revoke", key["id"], "--keys-file", str(file)]).exit_code == 0
    assert KeyFile(file).find(secret) is None
    monkeypatch.delenv("REELTAG_KEYS_FILE", raising=False)
    assert isinstance(run(app, ["keys", "list"]).exception, InvalidOption)
