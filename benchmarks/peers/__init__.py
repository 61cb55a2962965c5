"""The servers that voxyray is measured against; they run in an environment of their own."""

from __future__ import annotations

import argparse
from typing import Final

INSTRUCTIONS: Final = "You answer the phone for Ada's bike shop. Be brief, kind and exact. " * 10


def arguments() -> argparse.Namespace:
    """Read what every server of the benchmark is started with."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--fd", type=int, required=True, help="An inherited listening socket.")
    parser.add_argument("--model-url", required=True)
    parser.add_argument("--store", help="Unused: the peers keep nothing.")
    parser.add_argument("--kind", default="talk", help="The scenario.")
    return parser.parse_args()
