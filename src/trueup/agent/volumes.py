"""The folders that pods mount: ConfigMaps and Secrets as files, empty folders. Never deletes what it did not make."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Sequence
from pathlib import Path

from trueup.agent.spec import Mount
from trueup.core.kinds import Container, PodSpec, Volume
from trueup.core.layout import Layout
from trueup.core.pods import Config, File, files

MEMORY_FOLDER = Path("/dev/shm")


class Volumes:
    """All volumes of one state folder, one folder per pod."""

    def __init__(self, layout: Layout) -> None:
        self._root = Path(layout.agent) / "volumes"
        self._memory = MEMORY_FOLDER / f"trueup-{layout.id}"

    def make(self, pod: str, spec: PodSpec, config: Config) -> None:
        """Write every volume of the pod; what is there already stays. Raises ConfigMissing, OSError."""
        for volume in spec.volumes:
            if volume.host_path is not None:
                continue
            folder = self._folder(pod, volume)
            if not folder.exists():
                self._fill(folder, files(volume, config), spec, empty=volume.empty_dir is not None)

    def mounts(self, pod: str, spec: PodSpec, container: Container) -> tuple[Mount, ...]:
        volumes = {v.name: v for v in spec.volumes}
        return tuple(
            self._mount(pod, volumes[m.name], m.mount_path, m.sub_path, m.read_only) for m in container.volume_mounts
        )

    def remove(self, pod: str) -> None:
        shutil.rmtree(self._root / pod, ignore_errors=True)
        shutil.rmtree(self._memory / pod, ignore_errors=True)

    def keep_only(self, pods: Sequence[str]) -> None:
        """Drop the folders of pods that are no more."""
        for root in (self._root, self._memory):
            for folder in root.iterdir() if root.is_dir() else ():
                if folder.name not in pods:
                    shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            self._memory.rmdir()  # when nothing is left in it

    def _mount(self, pod: str, volume: Volume, path: str, below: str, read_only: bool) -> Mount:
        if volume.host_path is not None:
            return Mount(str(Path(volume.host_path.path) / below), path, read_only)
        source = self._folder(pod, volume) / below
        if volume.empty_dir is not None and below:
            source.mkdir(parents=True, exist_ok=True)
        return Mount(str(source), path, read_only or volume.empty_dir is None)

    def _folder(self, pod: str, volume: Volume) -> Path:
        """Secrets stand in memory, as kubelet keeps them, and never on the disk."""
        memory = volume.secret is not None or (volume.empty_dir is not None and volume.empty_dir.medium == "Memory")
        return (self._memory if memory else self._root) / pod / volume.name

    def _fill(self, folder: Path, wanted: Sequence[File], spec: PodSpec, *, empty: bool) -> None:
        """Complete under another name first, so that a kill leaves no half-written volume behind."""
        if folder.is_relative_to(self._memory):
            self._own_memory()
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o711)
        half = folder.with_name(f".{folder.name}.half")
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir()
        group = spec.security_context.fs_group
        if group is not None:
            os.chown(half, -1, group)
        half.chmod((0o2777 if group is not None else 0o777) if empty else 0o755)
        for file in wanted:
            self._write(half, file, group)
        half.rename(folder)

    def _own_memory(self) -> None:
        """Everybody may write beside it: it is ours alone, or nothing is put there. Raises OSError."""
        self._memory.mkdir(exist_ok=True, mode=0o700)
        found = self._memory.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise OSError(f"{self._memory} is somebody else's: remove it")
        self._memory.chmod(0o700)

    def _write(self, folder: Path, file: File, group: int | None) -> None:
        target = folder / file.path
        if not target.resolve().is_relative_to(folder.resolve()):
            raise OSError(f"{file.path!r} leads out of its volume")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.data)
        if group is not None:
            os.chown(target, -1, group)
        target.chmod(file.mode | (0o040 if group is not None else 0))
