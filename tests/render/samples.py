"""Repositories that use much of Kustomize, Helm and Jsonnet."""

from __future__ import annotations

DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  labels: {app: web}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
        - name: web
          image: ghcr.io/acme/web:1.0
          env:
            - {name: HOST, value: placeholder}
          envFrom:
            - configMapRef: {name: settings}
            - secretRef: {name: keys}
"""
SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
"""

OVERLAYS = {
    "base/kustomization.yaml": """\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [deployment.yaml, service.yaml]
configMapGenerator:
  - name: settings
    literals: [LEVEL=info, "ODD=on", "OCTAL=0777"]
    files: [app.properties, renamed=app.properties]
    envs: [more.env]
secretGenerator:
  - name: keys
    type: Opaque
    literals: [token=abc]
""",
    "base/deployment.yaml": DEPLOYMENT,
    "base/service.yaml": SERVICE,
    "base/app.properties": "color=blue\nsize=1\n",
    "base/more.env": "A=1\nB=two words\n",
    "components/probe/kustomization.yaml": """\
apiVersion: kustomize.config.k8s.io/v1alpha1
kind: Component
patches:
  - target: {kind: Deployment, name: web}
    patch: |-
      - op: add
        path: /spec/template/spec/containers/0/readinessProbe
        value: {httpGet: {path: /health, port: 8080}}
""",
    "overlays/prod/kustomization.yaml": """\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namespace: shop
namePrefix: prod-
nameSuffix: -v1
resources: [../../base, extra.yaml]
components: [../../components/probe]
labels:
  - pairs: {tier: front}
    includeSelectors: true
commonAnnotations: {owner: ann}
images:
  - name: ghcr.io/acme/web
    newName: registry.local/web
    digest: sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
replicas: [{name: web, count: 5}]
configMapGenerator:
  - name: settings
    behavior: merge
    literals: [LEVEL=debug]
patches:
  - path: memory.yaml
  - path: rename.json
    target: {kind: Service, name: web}
replacements:
  - source: {kind: Service, name: web, fieldPath: metadata.name}
    targets:
      - select: {kind: Deployment, name: web}
        fieldPaths: ["spec.template.spec.containers.[name=web].env.[name=HOST].value"]
""",
    "overlays/prod/extra.yaml": """\
apiVersion: example.org/v1
kind: Widget
metadata: {name: odd}
spec: {on: yes, time: 12:30:00, mode: 0777, big: 9223372036854775807, float: 1e3, text: "007"}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop}
""",
    "overlays/prod/memory.yaml": """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  template:
    spec:
      containers:
        - name: web
          resources: {limits: {memory: 64Mi}}
        - name: side
          image: busybox
""",
    "overlays/prod/rename.json": '[{"op": "replace", "path": "/spec/ports/0/port", "value": 8000}]',
}

CHART = {
    "chart/Chart.yaml": """\
apiVersion: v2
name: shop
version: 1.2.3
appVersion: "7"
kubeVersion: ">=1.20.0-0"
dependencies:
  - {name: cache, version: 0.1.0, condition: cache.enabled}
  - {name: cache, version: 0.1.0, alias: second, condition: second.enabled}
  - {name: common, version: 0.1.0}
""",
    "chart/values.yaml": """\
replicas: 2
image: {repository: ghcr.io/acme/shop, tag: ""}
cache: {enabled: true, size: 10}
second: {enabled: false}
global: {team: red}
words: [one, two]
template: "{{ .Release.Name }}-{{ .Values.global.team }}"
""",
    "chart/values.schema.json": """\
{"type": "object", "properties": {"replicas": {"type": "integer", "minimum": 0}}}
""",
    "chart/.helmignore": "*.bak\nsecret/\n",
    "chart/templates/_names.tpl": '{{- define "shop.name" -}}{{ .Release.Name }}-{{ .Chart.Name }}{{- end -}}\n',
    "chart/templates/deployment.yaml": """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "shop.name" . }}
  labels: {{- include "common.labels" . | nindent 4 }}
  annotations:
    sum: {{ .Files.Get "files/motd.txt" | sha256sum }}
    tpl: {{ tpl .Values.template . | quote }}
    found: {{ lookup "v1" "Secret" "default" "x" | toJson | quote }}
    kube: {{ .Capabilities.KubeVersion.Version | quote }}
    has: {{ .Capabilities.APIVersions.Has "batch/v1" | quote }}
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec:
      containers:
        - name: shop
          image: "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"
          args: {{- range .Values.words }}
            - {{ . | quote }}
          {{- end }}
---
apiVersion: v1
kind: Service
metadata: {name: {{ include "shop.name" . }}, namespace: {{ .Release.Namespace }}}
spec: {ports: [{port: 80}], selector: {app: shop}}
""",
    "chart/templates/hook.yaml": """\
apiVersion: batch/v1
kind: Job
metadata:
  name: migrate
  annotations: {"helm.sh/hook": "pre-install,pre-upgrade", "helm.sh/hook-weight": "-5",
                "helm.sh/hook-delete-policy": hook-succeeded}
spec: {template: {spec: {restartPolicy: Never, containers: [{name: m, image: busybox}]}}}
""",
    "chart/templates/tests/check.yaml": """\
apiVersion: v1
kind: Pod
metadata: {name: check, annotations: {"helm.sh/hook": test}}
spec: {restartPolicy: Never, containers: [{name: c, image: busybox}]}
""",
    "chart/templates/empty.yaml": "{{- if false }}\nkind: Nothing\n{{- end }}\n",
    "chart/templates/NOTES.txt": "Reach {{ .Release.Name }}.\n",
    "chart/templates/old.yaml.bak": "this is: [not yaml",
    "chart/secret/x.yaml": "not: read",
    "chart/files/motd.txt": "hello\n",
    "chart/crds/widget.yaml": """\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.org}
spec: {group: example.org}
""",
    "chart/charts/cache/Chart.yaml": "apiVersion: v2\nname: cache\nversion: 0.1.0\n",
    "chart/charts/cache/values.yaml": "size: 1\n",
    "chart/charts/cache/templates/config.yaml": """\
apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name }}-{{ .Chart.Name }}}
data: {size: {{ .Values.size | quote }}, team: {{ .Values.global.team }}}
""",
    "chart/charts/common/Chart.yaml": "apiVersion: v2\nname: common\nversion: 0.1.0\ntype: library\n",
    "chart/charts/common/templates/_labels.tpl": """\
{{- define "common.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}
""",
    "prod.yaml": "replicas: 3\nsecond: {enabled: true, size: 77}\n",
    "late.yaml": "replicas: 4\nwords: [three]\n",
    "note.txt": "from a file",
}

JSONNET = {
    "main.jsonnet": """\
local k = import 'lib/k.libsonnet';
local vendored = import 'deep.libsonnet';
function(replicas=1) {
  web: k.deployment('web', replicas, std.extVar('tag')),
  more: [k.config('a', importstr 'text.txt'), k.config('b', vendored.word)],
}
""",
    "lib/k.libsonnet": """\
{
  deployment(name, replicas, tag):: {
    apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: name },
    spec: { replicas: replicas, template: { spec: { containers: [{ name: name, image: 'acme/web:' + tag }] } } },
  },
  config(name, text):: { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: name }, data: { text: text } },
}
""",
    "vendor/deep.libsonnet": "{ word: 'vendored' }",
    "text.txt": "some text\n",
}
