"""Another Trueup in a process of its own: applies one ConfigMap with a rising number as fast as it may, for ever.

    python second.py KUBECONFIG RECORDS HOME NAMESPACE LEASE_S CALL_S

Prints "acting" once the first was applied, and "held off: …" each time that it may not act any more.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
from pathlib import Path

from trueup.core.kubeconfig import resolve
from trueup.core.model import Place
from trueup.core.objects import make_object
from trueup.drivers.targets.kubernetes.lease import NotHeld
from trueup.drivers.targets.kubernetes.target import Kubernetes, Settings
from trueup.drivers.targets.kubernetes.watching import Pace


async def act(kubeconfig: str, records: str, home: str, space: str, lease_s: float, call_s: float) -> None:
    access = resolve([(kubeconfig, Path(kubeconfig).read_bytes())])
    pace = Pace(call_s=call_s)
    target = Kubernetes(
        Settings(access=access, environ=os.environ, records=records, home=home, lease_s=lease_s, pace=pace)
    )
    await target.start()
    acting = False
    for number in itertools.count():
        body = {
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "who", "namespace": space},
            "data": {"by": "second", "number": str(number)},
        }  # fmt: skip
        try:
            await target.apply("who", "c1", [make_object(body, Place("who.yaml", 1))])
        except NotHeld as error:
            print(f"held off: {error}", flush=True)
            acting = False
            await asyncio.sleep(0.2)
            continue
        if not acting:
            print("acting", flush=True)
            acting = True


if __name__ == "__main__":
    asyncio.run(act(*sys.argv[1:5], float(sys.argv[5]), float(sys.argv[6])))
