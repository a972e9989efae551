"""``python -m vqkit`` is ``vqkit``."""

import sys

from vqkit.cli.main import main

__all__: list[str] = []

if __name__ == "__main__":
    sys.exit(main())
