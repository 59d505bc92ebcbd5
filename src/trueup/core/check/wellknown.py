"""Data: the GitHub actions that exist under owners whose list is complete here, and what people mean instead.

Source: the public repositories of the organisations `actions` and `docker` that hold an action.yml, archived ones too;
what is not in everyday use was looked up in a public index in November 2026 (setup-elixir, setup-haskell and
scout-action are not in it; they are known from their users).
"""

from __future__ import annotations

# owner → every action of that owner; an action of another owner is never judged by this table
ACTIONS: dict[str, frozenset[str]] = {
    "actions": frozenset({
        "add-to-project", "ai-inference", "attest", "attest-build-provenance", "attest-sbom", "cache", "checkout",
        "configure-pages", "container-action", "create-github-app-token", "create-release", "delete-package-versions",
        "dependency-review-action", "deploy-pages", "download-artifact", "first-interaction", "github-script",
        "go-dependency-submission", "hello-world-docker-action", "hello-world-javascript-action",
        "javascript-action", "jekyll-build-pages", "labeler", "publish-action", "publish-immutable-action",
        "setup-copilot", "setup-dotnet", "setup-elixir", "setup-go", "setup-haskell", "setup-java",
        "setup-node", "setup-python", "setup-ruby",
        "stale", "typescript-action", "upload-artifact", "upload-pages-artifact", "upload-release-asset",
    }),
    "docker": frozenset({
        "bake-action", "build-push-action", "cagent-action", "github-actions", "login-action", "metadata-action",
        "scout-action", "setup-buildx-action", "setup-compose-action", "setup-docker-action", "setup-qemu-action",
    }),
}  # fmt: skip

# Actions that write to a cluster. Source: their README files.
DEPLOYING_ACTIONS = frozenset({
    "azure/k8s-deploy", "azure/k8s-bake", "actions-hub/kubectl", "steebchen/kubectl", "koslib/helm-eks-action",
    "stefanprodan/kube-tools", "deliverybot/helm",
    "wahyd4/kubectl-helm-action", "kodermax/kubectl-aws-eks",
})  # fmt: skip
