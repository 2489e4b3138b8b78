"""`reeltag watch` without the rest of reeltag: `python3 -m edge`, as on a device with Python 3.8."""

from __future__ import annotations

import sys

from reeltag.interrupts import ending_at_once

if __name__ == "__main__":
    with ending_at_once():
        from edge.command import main
    sys.exit(main(sys.argv[1:]))
