"""The `malaria` command, also as `python -m malaria`: interrupted while it starts, it says so."""

import signal
import sys


def _interrupt(signum: int, frame: object) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """Run the command; Ctrl-C and SIGTERM end it with a sentence and 130."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        from malaria.cli.main import main as run

        run()
    except KeyboardInterrupt:  # while packages are imported; commands say more
        print("malaria: interrupted before it began; run the same command again.", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
