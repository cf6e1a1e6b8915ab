"""The process behind `defnet`, also as ``python -m defnet_infer``: stopped early, it ends without a traceback too."""

from __future__ import annotations

import signal
import sys
from types import FrameType


def main() -> None:
    """Run the command line. SIGTERM counts as Ctrl-C, so that what was begun is tidied up."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        from defnet_infer.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
