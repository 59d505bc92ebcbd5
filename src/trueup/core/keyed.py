"""Lists of a container that a server-side apply takes for mappings: each key may stand in them once. Pure.

kubectl's client-side apply takes what is stated twice; of those the last one counts, as it does in a running container.
Source: Kubernetes API, x-kubernetes-list-map-keys of Container.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from trueup.core.model import Json
from trueup.core.objects import containers

KEYED: dict[str, Callable[[Json], str]] = {
    "env": lambda item: str(item.get("name")),
    "ports": lambda item: f"{item.get('containerPort')}/{item.get('protocol') or 'TCP'}",
    "volumeMounts": lambda item: str(item.get("mountPath")),
    "volumeDevices": lambda item: str(item.get("devicePath")),
}


def last_of(items: list[Json], key: Callable[[Json], str]) -> dict[str, int]:
    """key → where it stands last."""
    return {key(item): at for at, item in enumerate(items) if isinstance(item, dict)}


def repeated(body: Json) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """(path of an item that does not count, its key) for each one that a later item of its list takes the place of."""
    for path, container in containers(body):
        for name, key in KEYED.items():
            items = container.get(name)
            last = last_of(items, key) if isinstance(items, list) else {}
            for at, item in enumerate(items if isinstance(items, list) else ()):
                if isinstance(item, dict) and last[key(item)] != at:
                    yield (*path, name, at), key(item)
