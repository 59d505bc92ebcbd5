"""The docker/* actions, over the build broker's session of the job.

Source: docker/login-action, docker/metadata-action and docker/build-push-action, READMEs of their current versions.
"""

from __future__ import annotations

import re

import msgspec

from trueup.core import dockercli
from trueup.engine.running import ActionFailed, Use
from trueup.ports import BuilderDown, BuildFailed


async def login(use: Use) -> int:
    """Kept for this run only. Without an account (most name `secrets.GITHUB_TOKEN`, which only GitHub hands out) the
    run goes on: its images stay in the embedded registry, and the log says so."""
    user, password = use.get("username"), use.get("password")
    registry = use.get("registry", "docker.io")
    if not user or not password:
        use.say(f"notice: {dockercli.no_account(registry)}")
        return 0
    use.running.masker.add(password)
    await use.running.session.login(registry, user, password)
    use.say(f"logged in to {registry} for this run")
    return 0


async def setup_buildx(use: Use) -> int:
    use.say("nothing to set up: builds run in Trueup's build broker")
    use.outputs.update(name="trueup", driver="trueup", platforms="linux/amd64")
    return 0


async def setup_qemu(use: Use) -> int:
    use.say("notice: images are built for this machine's own platform; no emulation is set up")
    use.outputs.update(platforms="linux/amd64")
    return 0


async def build_push(use: Use) -> int:
    """Outputs: digest, imageid, metadata."""
    platforms = [name for name in _list(use.get("platforms")) if name]
    if len(platforms) > 1:
        use.say(f"notice: built for this machine's platform only, not for {', '.join(platforms)}")
    context = use.get("context", ".")
    if "://" in context or context.startswith("git@"):
        raise ActionFailed(
            f"docker/build-push-action: the context {context!r} is not in the workspace: write `context: .`"
        )
    tags = _list(use.get("tags"))
    if not tags:
        raise ActionFailed(
            "docker/build-push-action: tags is empty: name the image, e.g. `tags: ghcr.io/acme/app:latest`"
        )
    try:
        image = await use.running.session.build(
            context=context,
            dockerfile=use.get("file"),
            tags=tags,
            target=use.get("target"),
            args=_pairs(use.get("build-args")),
            secrets=_pairs(use.get("secrets")),
            labels=_pairs(use.get("labels")),
            push=use.flag("push"),
            output=use.running.log.write,
            cwd=use.running.sandbox.inside,
        )
    except BuildFailed as error:
        raise ActionFailed(str(error)) from error
    except BuilderDown as error:
        raise ActionFailed(f"not the repository's fault: {error}") from error
    use.say(f"{image.repository}:{image.tag}@{image.digest}")
    metadata = {"containerimage.digest": image.digest, "image.name": ",".join(tags)}
    use.outputs.update(digest=image.digest, imageid=image.digest, metadata=msgspec.json.encode(metadata).decode())
    return 0


async def metadata(use: Use) -> int:
    """Outputs: tags, labels, version, json. Rules: ref, sha, raw, semver, schedule-free basics."""
    images = _list(use.get("images"))
    if not images:
        raise ActionFailed("docker/metadata-action: images is empty: name the image, e.g. `images: ghcr.io/acme/app`")
    found = _tags(use)
    names = [f"{image.lower()}:{tag}" for image in images for tag in found]
    labels = {**_labels(use, found), **_pairs(use.get("labels"))}
    use.outputs.update(
        tags="\n".join(names),
        labels="\n".join(f"{name}={value}" for name, value in labels.items()),
        version=found[0] if found else "",
        json=msgspec.json.encode({"tags": names, "labels": labels}).decode(),
    )
    use.say("\n".join(names) or "no tag matches this event")
    return 0


_DEFAULT_TAGS = "type=schedule\ntype=ref,event=branch\ntype=ref,event=tag\ntype=ref,event=pr"


def _tags(use: Use) -> list[str]:
    facts = use.running.facts
    kind, _, name = facts.ref.removeprefix("refs/").partition("/")
    found: list[str] = []
    for line in _lines(use.get("tags", _DEFAULT_TAGS)):
        rule = dict(part.partition("=")[::2] for part in line.split(","))
        if rule.get("enable", "true").strip() == "false":
            continue
        tag = _tag(rule, kind, name, facts.commit, line)
        if tag:
            found.append(_sane(rule.get("prefix", "") + tag + rule.get("suffix", "")))
    flavor = dict(line.partition("=")[::2] for line in _lines(use.get("flavor")))
    latest = flavor.get("latest", "auto")
    if latest == "true" or (latest == "auto" and kind == "tags" and re.fullmatch(r"v?\d+\.\d+\.\d+", name)):
        found.append("latest")
    return list(dict.fromkeys(found))


def _tag(rule: dict[str, str], kind: str, name: str, commit: str, line: str) -> str:
    match rule.get("type", "raw" if "type" not in rule else ""):
        case "ref":
            wanted = {"branch": "heads", "tag": "tags", "pr": "pull"}.get(rule.get("event", ""), "")
            return name if kind == wanted else ""
        case "sha":
            return ((rule.get("prefix") is None and "sha-") or "") + (
                commit if rule.get("format") == "long" else commit[:7]
            )
        case "raw":
            return rule.get("value", line if "=" not in line else "")
        case "semver" | "pep440":
            return _semver(
                rule.get("pattern", "{{version}}"), rule.get("value", "") or (name if kind == "tags" else "")
            )
        case "schedule":
            return ""
        case other:
            raise ActionFailed(
                f"docker/metadata-action: tags of type={other} are not offered: use ref, sha, semver or raw"
            )


def _semver(pattern: str, version: str) -> str:
    match = re.fullmatch(r"v?(\d+)\.(\d+)\.(\d+)((?:-[\w.]+)?)(?:\+[\w.]+)?", version)
    if match is None:
        return ""
    if match[4] and "version" not in pattern and "raw" not in pattern:
        return ""  # a pre-release never moves {{major}} or {{major}}.{{minor}}
    words = {"major": match[1], "minor": match[2], "patch": match[3], "raw": version}
    words["version"] = f"{match[1]}.{match[2]}.{match[3]}{match[4]}"
    return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda each: words.get(each[1], ""), pattern)


def _labels(use: Use, tags: list[str]) -> dict[str, str]:
    facts = use.running.facts
    return {
        "org.opencontainers.image.title": facts.repository.rpartition("/")[2],
        "org.opencontainers.image.url": facts.url,
        "org.opencontainers.image.source": facts.url,
        "org.opencontainers.image.version": tags[0] if tags else "",
        "org.opencontainers.image.revision": facts.commit,
    }


def _sane(tag: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "-", tag).lstrip(".-")[:128]


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _list(text: str) -> list[str]:
    return [item.strip() for line in _lines(text) for item in line.split(",") if item.strip()]


def _pairs(text: str) -> dict[str, str]:
    pairs = [line.partition("=") for line in _lines(text)]
    return {name.strip().strip('"'): value.strip('"') for name, sign, value in pairs if sign}
