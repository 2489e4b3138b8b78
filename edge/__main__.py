"""`reeltag watch` without the rest of reeltag: `python3 -m edge`, as on a device with Python 3.8."""

from __future__ import annotations

import sys

from edge.command import main

sys.exit(main(sys.argv[1:]))
