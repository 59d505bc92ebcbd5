"""The docker/* actions that build and push, over the build broker's session of the job.

Source: docker/login-action and docker/build-push-action, READMEs of their current versions.
"""

from __future__ import annotations

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
    platforms = [name for name in list_of(use.get("platforms")) if name]
    if len(platforms) > 1:
        use.say(f"notice: built for this machine's platform only, not for {', '.join(platforms)}")
    context = use.get("context", ".")
    if "://" in context or context.startswith("git@"):
        raise ActionFailed(
            f"docker/build-push-action: the context {context!r} is not in the workspace: write `context: .`"
        )
    tags = list_of(use.get("tags"))
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
            args=pairs_of(use.get("build-args")),
            secrets=pairs_of(use.get("secrets")),
            labels=pairs_of(use.get("labels")),
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


def lines_of(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def list_of(text: str) -> list[str]:
    return [item.strip() for line in lines_of(text) for item in line.split(",") if item.strip()]


def pairs_of(text: str) -> dict[str, str]:
    pairs = [line.partition("=") for line in lines_of(text)]
    return {name.strip().strip('"'): value.strip('"') for name, sign, value in pairs if sign}
