"""The load generator of the demo, for benchmarks: see `trueup.demo.load`.

python bench/load.py http://127.0.0.1:8080/ --rate 300 --seconds 10 [--no-keep-alive] [--slow PATH --slow-rate 2]
"""

from __future__ import annotations

import asyncio
import sys

from trueup.demo.load import main

if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
