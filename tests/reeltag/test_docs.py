from __future__ import annotations

import re
from pathlib import Path

from reeltag import sizing
from reeltag.settings import Settings

ROOT = Path(__file__).parent.parent.parent


def test_every_setting_is_documented_with_its_default() -> None:
    rows = re.findall(r"^\| `REELTAG_(\w+)` \| (.*?) \|", (ROOT / "docs" / "operating.md").read_text(), re.MULTILINE)
    fields = Settings.model_fields.items()
    defaults = {name.upper(): str(field.default) for name, field in fields if field.default_factory is None}
    sized = {name.upper(): "[by the cores](scaling.md)" for name in sizing.NAMES}
    assert dict(rows) == {**defaults, **sized, "STATE_DIR": "~/.local/state/reeltag"}


def test_files_that_the_documents_link_to_exist() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"


def test_the_threat_model_names_tests_that_exist() -> None:
    page = (ROOT / "docs" / "threat-model.md").read_text()
    sources = "".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))
    named = re.findall(r"`(test_\w+)`", page)
    assert len(named) > 20
    assert [name for name in named if f"def {name}(" not in sources] == []
    assert all((ROOT / path).exists() for path in re.findall(r"`(tests/[\w/.]+)`", page))
