"""What goes over the agent's socket, version 1: one record per question with a body."""

from __future__ import annotations

from msgspec import Struct

from trueup.core.model import Object, Ref

VERSION = 1


class ApplyAsk(Struct, frozen=True):
    candidate: str
    objects: tuple[Object, ...]
    accepted: tuple[str, ...] = ()


class DeleteAsk(Struct, frozen=True):
    refs: tuple[Ref, ...]


class DownAsk(Struct, frozen=True):
    data: bool = False


class Hello(Struct, frozen=True):
    """Who answers."""

    version: int
    pid: int
    state: str
    program: str  # of the software; another one is started anew


class PodView(Struct, frozen=True):
    name: str
    application: str
    namespace: str
    workload: str
    template: str
    address: str
    ready: bool
    stopping: bool
    restarts: int
    waiting: str
    message: str
    images: tuple[str, ...]  # as the manifests name them
    containers: tuple[str, ...]  # Podman's ids


class ServiceView(Struct, frozen=True):
    namespace: str
    name: str
    address: str
    ports: tuple[tuple[str, int, int], ...]  # name, port, port on the host (0: none)


class Overview(Struct, frozen=True):
    pods: tuple[PodView, ...]
    services: tuple[ServiceView, ...]
    podman_starts: int
