"""How a build reaches the outside: the host's certificates, proxies and package indexes, none of which stay in it.

Neither `--env` nor ENV is used, for both land in the image. The runtime that starts each RUN is a small wrapper that
adds variables to that one process, and the certificates are mounted below /dev, which is never part of a layer.
"""

from __future__ import annotations

import configparser
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

CA_INSIDE = "/dev/trueup/ca.crt"
LINKS_INSIDE = "/dev/trueup/wheels"
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
CERTIFICATES = (
    "SSL_CERT_FILE",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "GIT_SSL_CAINFO",
    "AWS_CA_BUNDLE",
)
INDEXES = (
    *("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST", "PIP_NO_INDEX", "PIP_DEFAULT_TIMEOUT", "PIP_RETRIES"),
    *("PIP_DISABLE_PIP_VERSION_CHECK", "UV_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX", "UV_EXTRA_INDEX_URL"),
    *("NPM_CONFIG_REGISTRY", "GOPROXY", "GONOSUMDB", "GOFLAGS"),
)
_PIP_CONF = {
    "index-url": "PIP_INDEX_URL",
    "extra-index-url": "PIP_EXTRA_INDEX_URL",
    "trusted-host": "PIP_TRUSTED_HOST",
    "timeout": "PIP_DEFAULT_TIMEOUT",
}


class Outside(Struct, frozen=True):
    """What each RUN gets on top of the image's own variables, which win."""

    env: tuple[tuple[str, str], ...] = ()
    mounts: tuple[tuple[str, str], ...] = ()  # host path, path inside; read-only
    proxies: tuple[tuple[str, str], ...] = ()  # for the tools themselves


def outside(environ: Mapping[str, str], ca: Path | None, pip_conf: str = "") -> Outside:
    """From the host's environment, CA bundle and pip.conf."""
    proxies = {
        name: environ[name] for upper in PROXIES for name in (upper, upper.lower()) if environ.get(name) is not None
    }
    env = {**_from_pip_conf(pip_conf), **{name: environ[name] for name in INDEXES if name in environ}, **proxies}
    mounts: list[tuple[str, str]] = []
    if ca is not None and ca.is_file():
        env.update(dict.fromkeys(CERTIFICATES, CA_INSIDE))
        mounts.append((str(ca.resolve()), CA_INSIDE))
    links = environ.get("PIP_FIND_LINKS", "")
    if "://" in links:
        env["PIP_FIND_LINKS"] = links
    elif links and Path(links).is_dir() and any(Path(links).iterdir()):
        env["PIP_FIND_LINKS"] = LINKS_INSIDE
        mounts.append((str(Path(links).resolve()), LINKS_INSIDE))
    return Outside(tuple(sorted(env.items())), tuple(mounts), tuple(sorted(proxies.items())))


def _from_pip_conf(text: str) -> dict[str, str]:
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string(text)
    except configparser.Error:
        return {}
    found = dict(parser.items("global")) if parser.has_section("global") else {}
    return {name: found[key].replace("\n", " ").strip() for key, name in _PIP_CONF.items() if key in found}


_WRAPPER = """\
#!/bin/sh
exec {python} -IS "$0.py" "$@"
"""

_WRAPPER_PY = '''\
"""Adds variables and limits to one RUN of a build, then becomes the runtime itself. Written by Trueup."""
import json
import os
import sys

args = sys.argv[1:]
with open(os.environ["TRUEUP_RUN"]) as file:
    wanted = json.load(file)
if "create" in args and "--bundle" in args:
    path = os.path.join(args[args.index("--bundle") + 1], "config.json")
    with open(path) as file:
        spec = json.load(file)
    there = {text.partition("=")[0] for text in spec["process"]["env"]}
    spec["process"]["env"] += [k + "=" + v for k, v in wanted["env"].items() if k not in there]
    spec.setdefault("linux", {}).setdefault("resources", {})["pids"] = {"limit": wanted["pids"]}
    with open(path, "w") as file:
        json.dump(spec, file)
os.execvp(wanted["runtime"], [wanted["runtime"], *args])
'''


def write_runtime(folder: Path) -> Path:
    """Lay the wrapper into `folder`; its path, for `buildah --runtime`. $TRUEUP_RUN names a file with
    {"env": {…}, "pids": n, "runtime": "runc"}."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (("runtime.py", _WRAPPER_PY), ("runtime", _WRAPPER.format(python=shlex.quote(sys.executable)))):
        new = folder / (name + ".new")
        new.write_text(text)
        new.chmod(0o755)
        new.replace(folder / name)
    return folder / "runtime"
