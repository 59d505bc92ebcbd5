"""`python -m trueup.agent --state DIR`: the agent in the foreground, its log on standard error."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from pathlib import Path

from trueup.agent.process import STARTING, AlreadyRuns, serve
from trueup.core.layout import Layout


def main() -> int:
    """0 after SIGTERM or `down`; 1 when it cannot start; 3 when another one keeps this folder."""
    parser = argparse.ArgumentParser(prog="python -m trueup.agent", description="Trueup's agent on this machine.")
    parser.add_argument("--state", required=True, type=Path, help="the state folder")
    arguments = parser.parse_args()
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # it outlives who started it, whose locks and pipes are not its own
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        asyncio.run(serve(Layout(str(arguments.state.resolve()))))
    except AlreadyRuns as error:
        print(error, file=sys.stderr)
        return 3
    except STARTING as error:
        logging.getLogger("trueup.agent").error("the agent cannot start: %s", error or type(error).__name__)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
