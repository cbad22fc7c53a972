"""``python -m bascule``, and how an archive of it begins."""

import sys

from bascule.cli.main import main


def run() -> None:
    """Run the command that was given."""
    sys.exit(main())


if __name__ == "__main__":
    run()
