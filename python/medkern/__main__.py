"""The command `medkern`, also `python -m medkern`."""

from __future__ import annotations

import sys

from medkern.cli import main

if __name__ == "__main__":
    sys.exit(main())
