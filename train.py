"""Train a tokenizer: ``uv run train.py`` (the recipe image/quickstart), or with Hydra overrides."""

import sys

from vqkit.cli.train import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
