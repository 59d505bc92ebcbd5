"""HAProxy's configuration as text, made from listeners. Pure: never reads or writes a file.

Every option that decides whether a request can be lost is explained in docs/network.md.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from msgspec import Struct

from trueup.agent.proxy_model import Backend, Bind, Listener


class Paths(Struct, frozen=True):
    """Where HAProxy's files stand, and who its workers are ("" keeps the caller's uid)."""

    config: str
    master: str  # unix socket of the master's command line
    worker: str  # unix socket through which a new worker takes over the listening sockets
    peers: str  # unix socket through which a new worker learns which client goes where
    pid: str
    log: str
    user: str = ""


_GLOBAL = """\
# Written by Trueup; changes by hand are overwritten.
global
  description {mark}
  stats socket {worker} mode 600 level admin expose-fd listeners
  stats timeout 60s
  hard-stop-after 1h
  localpeer trueup
  tune.bufsize 32768
{user}
defaults
  timeout connect 2s
  timeout client 1h
  timeout server 1h
  timeout tunnel 24h
  timeout queue 30s
  timeout http-request 60s
  timeout http-keep-alive 5m
  retries 3
  retry-on conn-failure
  option redispatch 1
  option http-server-close
  option idle-close-on-response
  http-reuse never
"""

SAFE = "GET HEAD OPTIONS TRACE"  # may be asked again. Source: RFC 9110, 9.2.1 and 9.2.2
NEXT = ".next:"  # no Kubernetes name begins with a dot
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]")


def server_name(backend: Backend) -> str:
    """ "<id>:<version>", in the letters that HAProxy takes."""
    return f"{_UNSAFE.sub('-', backend.id)}:{_UNSAFE.sub('-', backend.version)}"


def server_prefix(backend_id: str) -> str:
    return f"{_UNSAFE.sub('-', backend_id)}:"


def ground(identity: str) -> str:
    """A hash over what a reload cannot mend: the network namespace that HAProxy listens in."""
    return hashlib.sha256(identity.encode()).hexdigest()[:8]


def mark(listeners: Sequence[Listener], identity: str) -> str:
    """What a worker says it was started with: a hash over everything but the servers, and the ground."""
    text = _GLOBAL + "".join(_head(listener) + _next(listener) for listener in listeners)
    return f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.{ground(identity)}"


def render(listeners: Sequence[Listener], paths: Paths, identity: str) -> str:
    """The whole file. Servers stand in it as they are now, so that a reload or a reboot begins with the right ones."""
    user = f"  user {paths.user}\n  group {paths.user}" if paths.user else ""
    head = _GLOBAL.format(mark=mark(listeners, identity), worker=paths.worker, user=user)
    peers = f"\npeers trueup\n  peer trueup unix@{paths.peers}\n" if _sticky(listeners) else ""
    return head + peers + "".join(_head(li) + _servers(li) + _next(li) for li in listeners)


def bound(text: str) -> frozenset[Bind]:
    """What a configuration of ours listens on."""
    return frozenset(
        Bind(address, int(port), namespace)
        for address, port, namespace in re.findall(r"^  bind (\S+):(\d+)(?: namespace (\S+))?$", text, re.MULTILINE)
    )


def _sticky(listeners: Sequence[Listener]) -> bool:
    return any(listener.affinity_s for listener in listeners)


def _head(listener: Listener) -> str:
    lines = ["", f"listen {listener.name}", f"  mode {listener.mode}", "  balance roundrobin"]
    for bind in listener.binds:
        where = f" namespace {bind.namespace}" if bind.namespace else ""
        lines.append(f"  bind {bind.address}:{bind.port}{where}")
    if listener.mode == "http":
        lines.append("  option forwardfor if-none")
        lines += [
            "  retry-on conn-failure empty-response",
            f"  http-request disable-l7-retry unless {{ method {SAFE} }}",
        ]
        text = f"503 no ready replica of {listener.service} answered on port {listener.port}\\n"
        lines.append(f"  use_backend {NEXT}{listener.name} if {{ stopping }}")
        lines.append(f'  http-error status 503 content-type text/plain string "{text}"')
    if listener.affinity_s:
        lines.append(f"  stick-table type ip size 100k expire {listener.affinity_s}s peers trueup")
        lines.append("  stick on src")
    return "\n".join(lines) + "\n"


def _next(listener: Listener) -> str:
    """Where a worker that is leaving sends the requests of the keep-alive clients it still has: to its successor, which
    listens on the same address and knows the replicas of the day. HAProxy 2.6 lets nobody change a leaving worker's
    servers ("Proxy is disabled")."""
    if listener.mode != "http":
        return ""
    bind = listener.binds[0]
    return f"backend {NEXT}{listener.name}\n  mode http\n  server next {bind.address}:{bind.port}\n"


def _servers(listener: Listener) -> str:
    return "".join(
        f"  server {server_name(backend)} {backend.address}:{port}{'' if backend.serves else ' disabled'}\n"
        for backend, port in listener.backends
    )
