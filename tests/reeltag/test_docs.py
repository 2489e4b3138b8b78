from __future__ import annotations

import re
from pathlib import Path

from reeltag.settings import Settings

ROOT = Path(__file__).parent.parent.parent


def test_every_setting_is_documented_with_its_default() -> None:
    rows = re.findall(r"^\| `REELTAG_(\w+)` \| (.*?) \|", (ROOT / "docs" / "operating.md").read_text(), re.MULTILINE)
    assert dict(rows) == {name.upper(): str(field.default) for name, field in Settings.model_fields.items()}


def test_files_that_the_documents_link_to_exist() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"
