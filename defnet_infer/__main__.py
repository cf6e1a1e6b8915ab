"""The process behind `defnet`, also as ``python -m defnet_infer``: Ctrl-C while modules load is no traceback either."""

from __future__ import annotations

import sys

INTERRUPTED = 130


def main() -> None:
    """Run the command line."""
    try:
        from defnet_infer.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
