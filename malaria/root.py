"""The checkout that the commands of `malaria` work on."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
