"""What GitHub knows in a workflow: keys, events, and the actions that Trueup runs itself. Data only.

Source: GitHub Docs, "Workflow syntax for GitHub Actions", "Events that trigger workflows" (October 2025).
"""

from __future__ import annotations

from collections.abc import Mapping


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


WORKFLOW = _words("name run-name on permissions env defaults concurrency jobs")
JOB = _words(
    "name needs permissions if runs-on snapshot environment concurrency outputs env defaults steps timeout-minutes "
    "strategy continue-on-error container services uses with secrets"
)
STEP = _words("id if name uses run shell working-directory with env continue-on-error timeout-minutes")
STRATEGY = _words("matrix fail-fast max-parallel")
CONTAINER = _words("image credentials env ports volumes options")
CONCURRENCY = _words("group cancel-in-progress queue")
DEFAULTS = frozenset({"run"})
DEFAULTS_RUN = frozenset({"shell", "working-directory"})
FILTERS: Mapping[str, frozenset[str]] = {
    "push": _words("branches branches-ignore tags tags-ignore paths paths-ignore"),
    "pull_request": _words("types branches branches-ignore paths paths-ignore"),
    "pull_request_target": _words("types branches branches-ignore paths paths-ignore"),
    "workflow_run": _words("types workflows branches branches-ignore"),
    "workflow_dispatch": frozenset({"inputs"}),
    "workflow_call": _words("inputs outputs secrets"),
}
EVENTS = _words(
    "branch_protection_rule check_run check_suite create delete deployment deployment_status discussion "
    "discussion_comment fork gollum image_version issue_comment issues label merge_group milestone page_build public "
    "pull_request pull_request_review pull_request_review_comment pull_request_target push registry_package release "
    "repository_dispatch schedule status watch workflow_call workflow_dispatch workflow_run"
)
CONTEXTS = _words("github env vars job jobs steps runner secrets strategy matrix needs inputs")
COMPOSITE = _words("name description author inputs outputs runs branding")
SHELLS = _words("bash sh python pwsh powershell cmd")

# Run by Trueup itself: name → the inputs it honours. Others are said aloud in the job's log.
ACTIONS: Mapping[str, frozenset[str]] = {
    "actions/checkout": _words("path fetch-depth ref repository persist-credentials clean submodules lfs"),
    "actions/setup-python": _words("python-version python-version-file cache cache-dependency-path"),
    "actions/upload-artifact": _words("name path if-no-files-found retention-days overwrite"),
    "actions/download-artifact": _words("name path pattern merge-multiple"),
    "actions/cache": _words("path key restore-keys"),
    "docker/login-action": _words("registry username password logout"),
    "docker/setup-buildx-action": frozenset(),
    "docker/setup-qemu-action": frozenset(),
    "docker/metadata-action": _words("images tags labels flavor"),
    "docker/build-push-action": _words(
        "context file push tags target build-args secrets labels load platforms cache-from cache-to"
    ),
}
# Older or near names people write → what to write instead.
INSTEAD: Mapping[str, str] = {
    "docker/setup-action": "docker/setup-buildx-action or docker/login-action",
    "docker/setup-docker-action": "no step at all: `docker build` works in every job",
    "docker/build-and-push-action": "docker/build-push-action",
    "docker/login": "docker/login-action",
    "actions/python": "actions/setup-python",
    "actions/setup-node": "`container: node:22` on the job: an image that has what it needs",
    "actions/setup-go": "`container: golang:1` on the job: an image that has what it needs",
    "actions/setup-java": "`container: eclipse-temurin:21` on the job: an image that has what it needs",
    "actions/setup-dotnet": "`container: mcr.microsoft.com/dotnet/sdk:9.0` on the job: an image that has what it needs",
    "ruby/setup-ruby": "`container: ruby:3` on the job: an image that has what it needs",
    "shivammathur/setup-php": "`container: php:8` on the job: an image that has what it needs",
    "azure/setup-kubectl": "no step at all: Trueup deploys a green commit itself",
    "azure/setup-helm": "no step at all: Trueup deploys a green commit itself",
    "azure/k8s-deploy": "no step at all: Trueup deploys a green commit itself",
    "azure/k8s-set-context": "no step at all: Trueup deploys a green commit itself",
}
