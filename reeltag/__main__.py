"""The command `reeltag`, also as `python -m reeltag`."""

from __future__ import annotations

from typing import NoReturn

from reeltag.interrupts import ending_at_once


def main() -> NoReturn:
    """Run the command."""
    with ending_at_once():
        from reeltag.cli import main as run  # noqa: PLC0415 - what takes a second to load is interrupted quietly
    run()


if __name__ == "__main__":
    main()
