"""buildah and skopeo with the settings that every call shares. Never touches /etc/containers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from trueup.core.layout import CONTAINERS_CONF
from trueup.drivers.builders import process
from trueup.drivers.builders.faults import plain, world
from trueup.drivers.builders.process import Ended
from trueup.ports import BuilderDown

QUICK_S = 60.0
PUSH_S = 900.0
_PASSED = ("PATH", "HOME", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "XDG_RUNTIME_DIR")


class Tools:
    """Runs buildah and skopeo over one storage. `storage` "" is the machine's own."""

    def __init__(
        self, containers_conf: Path, environ: Mapping[str, str], proxies: Mapping[str, str], storage: str = ""
    ) -> None:
        self._conf = containers_conf
        self._storage = ("--root", f"{storage}/root", "--runroot", f"{storage}/run") if storage else ()
        self._env = {name: environ[name] for name in _PASSED if name in environ}
        self._env.setdefault("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        self._env.update(proxies)
        self._env["CONTAINERS_CONF"] = str(containers_conf)

    @property
    def env(self) -> Mapping[str, str]:
        return self._env

    def conf(self) -> None:
        """Write the settings file where nobody did yet."""
        if not self._conf.exists():
            self._conf.parent.mkdir(parents=True, exist_ok=True)
            new = self._conf.with_name(f"{self._conf.name}.builder")
            new.write_text(CONTAINERS_CONF)
            new.replace(self._conf)

    async def buildah(
        self,
        *words: str,
        timeout_s: float = QUICK_S,
        output: Callable[[bytes], None] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Ended:
        """Run buildah; its exit code is the caller's to judge."""
        self.conf()
        argv = ["buildah", *self._storage, *words]
        return await process.run(argv, env={**self._env, **(env or {})}, timeout_s=timeout_s, output=output)

    async def skopeo(self, *words: str, timeout_s: float = PUSH_S) -> Ended:
        return await process.run(["skopeo", *words], env=self._env, timeout_s=timeout_s)

    async def image_id(self, name: str) -> str:
        """The id of a local image, "" when there is none. Never asks a registry."""
        ended = await self.buildah("inspect", "--type", "image", "--format", "{{.FromImageID}}", name)
        if ended.code == 0:
            return ended.lines[-1].strip() if ended.lines else ""
        if "not known" in ended.text or "not found" in ended.text:
            return ""
        raise down(f"the image storage cannot be read ({name})", ended)

    async def labels(self, name: str) -> Mapping[str, str]:
        """The labels of a local image; empty when it has none or is not here."""
        each = '{{range $k, $v := .OCIv1.Config.Labels}}{{$k}}={{$v}}{{"\\n"}}{{end}}'
        ended = await self.buildah("inspect", "--type", "image", "--format", each, name)
        pairs = (line.partition("=") for line in ended.lines if "=" in line)
        return {} if ended.code else {key: value for key, _, value in pairs}

    async def storage_root(self) -> Path:
        """The folder of the image storage."""
        ended = await self.buildah("info", "--format", "{{.store.GraphRoot}}")
        if ended.code or not ended.lines:
            raise down("the image storage cannot be read", ended)
        return Path(ended.lines[-1].strip())


def down(what: str, ended: Ended) -> BuilderDown:
    """A failed tool as the world's fault, in its own last words."""
    said = world(ended.lines, fetching=True)
    if not said:
        said = next((plain(line) for line in reversed(ended.lines) if line.strip()), f"exit {ended.code}")
    return BuilderDown(f"{what}: {said}")
