"""The folders that pods mount."""

from __future__ import annotations

import base64
import stat
from pathlib import Path

import msgspec
import pytest

from trueup.agent.volumes import Volumes
from trueup.core.kinds import PodSpec
from trueup.core.layout import Layout
from trueup.core.pods import ConfigMissing


def spec(*volumes: object, mounts: object = ()) -> PodSpec:
    container = {"name": "web", "image": "web", "volumeMounts": mounts}
    return msgspec.convert({"containers": [container], "volumes": list(volumes)}, PodSpec)


CONFIG = {"ConfigMap/web": {"a.conf": base64.b64encode(b"one").decode()}}
CONF = {"name": "conf", "configMap": {"name": "web", "defaultMode": 0o440}}


@pytest.fixture
def volumes(tmp_path: Path) -> Volumes:
    return Volumes(Layout(str(tmp_path)))


def test_config_is_files_mounted_read_only(volumes: Volumes, tmp_path: Path) -> None:
    pod = spec(CONF, mounts=[{"name": "conf", "mountPath": "/etc/web"}])
    volumes.make("web-1", pod, CONFIG)
    mount = volumes.mounts("web-1", pod, pod.containers[0])[0]
    file = Path(mount.source, "a.conf")
    assert (mount.destination, mount.read_only) == ("/etc/web", True)
    assert file.read_bytes() == b"one"
    assert stat.S_IMODE(file.stat().st_mode) == 0o440


def test_secrets_stand_in_memory_where_nobody_else_looks(
    volumes: Volumes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trueup.agent.volumes.MEMORY_FOLDER", tmp_path / "shm")
    (tmp_path / "shm").mkdir(mode=0o1777)
    volumes = Volumes(Layout(str(tmp_path / "state")))
    pod = spec({"name": "token", "secret": {"secretName": "web"}}, mounts=[{"name": "token", "mountPath": "/run/t"}])
    volumes.make("web-1", pod, {"Secret/web": {"a": base64.b64encode(b"topaz").decode()}})
    source = Path(volumes.mounts("web-1", pod, pod.containers[0])[0].source)
    assert (source / "a").read_bytes() == b"topaz"
    (own,) = (tmp_path / "shm").iterdir()
    assert source.is_relative_to(own) and stat.S_IMODE(own.stat().st_mode) == 0o700
    assert not (tmp_path / "state").exists()
    volumes.remove("web-1")
    assert not source.exists()
    own.rmdir()
    own.symlink_to(tmp_path)
    with pytest.raises(OSError, match="somebody else's"):
        volumes.make("web-1", pod, {"Secret/web": {}})


def test_what_is_there_stays(volumes: Volumes, tmp_path: Path) -> None:
    pod = spec({"name": "data", "emptyDir": {}}, mounts=[{"name": "data", "mountPath": "/data", "subPath": "sub"}])
    volumes.make("web-1", pod, {})
    mount = volumes.mounts("web-1", pod, pod.containers[0])[0]
    Path(mount.source, "kept").write_text("x")
    volumes.make("web-1", pod, {})
    assert not mount.read_only
    assert Path(mount.source, "kept").read_text() == "x"


def test_a_file_cannot_leave_its_volume(volumes: Volumes, tmp_path: Path) -> None:
    item = {"key": "a.conf", "path": "../../../out"}
    bad = spec({"name": "conf", "configMap": {"name": "web", "items": [item]}})
    with pytest.raises(OSError, match="leads out"):
        volumes.make("web-1", bad, CONFIG)
    assert not list(tmp_path.rglob("out"))


def test_a_missing_config_map_leaves_nothing_half_made(volumes: Volumes, tmp_path: Path) -> None:
    with pytest.raises(ConfigMissing, match="ConfigMap 'web' is not there"):
        volumes.make("web-1", spec(CONF), {})
    volumes.make("web-1", spec(CONF), CONFIG)
    assert [p.name for p in tmp_path.rglob("a.conf")] == ["a.conf"]


def test_only_pods_that_are_keep_their_folders(volumes: Volumes, tmp_path: Path) -> None:
    for pod in ("web-1", "web-2"):
        volumes.make(pod, spec(CONF), CONFIG)
    volumes.keep_only(["web-2"])
    assert [p.parent.parent.name for p in tmp_path.rglob("a.conf")] == ["web-2"]
