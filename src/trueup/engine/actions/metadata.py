"""docker/metadata-action: tags and labels from what is built and where it was pushed.

Source: docker/metadata-action, README, "tags input", "flavor input", "Global expressions".
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

import msgspec

from trueup.core.pipeline import Facts
from trueup.engine.actions.images import lines_of, list_of, pairs_of
from trueup.engine.running import ActionFailed, Use

DEFAULT = "type=schedule\ntype=ref,event=branch\ntype=ref,event=tag\ntype=ref,event=pr"
PRIORITY = {
    "schedule": 1000,
    "semver": 900,
    "pep440": 900,
    "match": 800,
    "edge": 700,
    "ref": 600,
    "raw": 200,
    "sha": 100,
}
_EXPRESSION = re.compile(r"\{\{\s*(\w+)(?:\s+'([^']*)')?[^}]{0,100}\}\}")
_DATE = re.compile(r"YYYY|YY|MM|DD|HH|mm|ss|X|\[([^\]]*)\]")  # the tokens of Moment.js that tags are made of


async def metadata(use: Use) -> int:
    """Outputs: tags, labels, version, json."""
    images = list_of(use.get("images"))
    if not images:
        raise ActionFailed("docker/metadata-action: images is empty: name the image, e.g. `images: ghcr.io/acme/app`")
    facts = use.running.facts
    found = tags(use.get("tags") or DEFAULT, use.get("flavor"), facts, use.running.order.time_s)
    names = [f"{image.lower()}:{tag}" for image in images for tag in found]
    labels = {**_labels(facts, found), **pairs_of(use.get("labels"))}
    use.outputs.update(
        tags="\n".join(names),
        labels="\n".join(f"{name}={value}" for name, value in labels.items()),
        version=found[0] if found else "",
        json=msgspec.json.encode({"tags": names, "labels": labels}).decode(),
    )
    use.say("\n".join(names) or "no tag matches this event")
    return 0


def tags(rules: str, flavor: str, facts: Facts, time_s: int) -> list[str]:
    """The tags in the order of their priority. `{{date}}` is the commit's time, so that the same commit gives the same
    tags. Raises ActionFailed."""
    words = _words(facts)
    found: list[tuple[int, str]] = []
    for line in lines_of(rules):
        rule = {name: _filled(value, words, time_s) for name, value in _attributes(line).items()}
        if rule.get("enable", "true").strip() != "true":
            continue
        kind = rule.get("type", "")
        if tag := _tag(kind, rule, facts, words):
            found.append((_priority(rule, kind), rule.get("prefix", "") + tag + rule.get("suffix", "")))
    made = [tag for _, tag in sorted(found, key=lambda each: -each[0])]
    return _flavoured(made, flavor, facts)


def _priority(rule: dict[str, str], kind: str) -> int:
    given = rule.get("priority", "").strip()
    return int(given) if re.fullmatch(r"\d{1,9}", given) else PRIORITY[kind]


def _attributes(line: str) -> dict[str, str]:
    if "=" not in line:
        return {"type": "raw", "value": line}
    return {name.strip(): value for name, _, value in (part.partition("=") for part in line.split(","))}


def _words(facts: Facts) -> dict[str, str]:
    kind, _, name = facts.ref.removeprefix("refs/").partition("/")
    return {
        "branch": name if kind == "heads" else "",
        "tag": name if kind == "tags" else "",
        "sha": facts.commit[:7],
        "base_ref": "",
        "is_default_branch": "true" if kind == "heads" and name == facts.default_branch else "false",
    }


def _filled(text: str, words: dict[str, str], time_s: int) -> str:
    def fill(found: re.Match[str]) -> str:
        name, given = found.groups()
        return _date(given or "", time_s) if name == "date" else words.get(name, found.group())

    return _EXPRESSION.sub(fill, text)


def _date(text: str, time_s: int) -> str:
    at = datetime.fromtimestamp(time_s, UTC)
    values = {"YYYY": "%Y", "YY": "%y", "MM": "%m", "DD": "%d", "HH": "%H", "mm": "%M", "ss": "%S"}

    def token(found: re.Match[str]) -> str:
        if found.group() == "X":
            return str(time_s)
        return at.strftime(values[found.group()]) if found.group() in values else found.group(1)

    return _DATE.sub(token, text)


def _tag(kind: str, rule: dict[str, str], facts: Facts, words: dict[str, str]) -> str:
    match kind:
        case "ref":
            return {"branch": words["branch"], "tag": words["tag"]}.get(rule.get("event", ""), "")
        case "edge":
            return "edge" if words["branch"] and words["branch"] == (rule.get("branch") or facts.default_branch) else ""
        case "sha":
            return ("" if "prefix" in rule else "sha-") + (
                facts.commit if rule.get("format") == "long" else words["sha"]
            )
        case "raw":
            return rule.get("value", "")
        case "semver" | "pep440":
            return _semver(rule.get("pattern", "{{version}}"), rule.get("value", "") or words["tag"])
        case "match" if not rule.get("value") and not words["tag"]:
            return ""  # a push of a branch has no Git tag to match
        case "schedule":
            return ""
        case other:
            raise ActionFailed(
                f"docker/metadata-action: tags of type={other} are not offered: use ref, sha, semver, edge or raw"
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


def _flavoured(made: list[str], flavor: str, facts: Facts) -> list[str]:
    given = dict(part.partition("=")[::2] for line in lines_of(flavor) for part in line.split(","))
    prefix, suffix, latest = given.get("prefix", ""), given.get("suffix", ""), given.get("latest", "auto")
    found = [f"{prefix}{tag}{suffix}" for tag in made]
    release = re.fullmatch(r"refs/tags/v?\d+\.\d+\.\d+", facts.ref)
    if latest == "true" or (latest == "auto" and release):
        found.append(f"{prefix}latest{suffix}" if given.get("onlatest") == "true" else "latest")
    return list(dict.fromkeys(filter(None, map(_sane, found))))


def _labels(facts: Facts, tags: list[str]) -> dict[str, str]:
    return {
        "org.opencontainers.image.title": facts.repository.rpartition("/")[2],
        "org.opencontainers.image.url": facts.url,
        "org.opencontainers.image.source": facts.url,
        "org.opencontainers.image.version": tags[0] if tags else "",
        "org.opencontainers.image.revision": facts.commit,
    }


def _sane(tag: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "-", tag).lstrip(".-")[:128]
