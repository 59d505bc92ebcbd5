"""Commands that stand for docker, kubectl, helm and argocd in a pipeline. The folder is mounted on PATH."""
