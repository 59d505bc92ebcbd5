"""What the conditions and phases of projects' kinds mean: data, a row for each group of kinds, with its source.

A row names the conditions that must be True (`ready`), those that must not be (`bad`), or a phase and its words. What
no word names is progressing. `patient`: a ready condition that is False may still turn True by itself, except for the
reasons in `final`. `busy`: conditions that mean that it works on something; `needed`: conditions that must not be
False; `held`: conditions that mean that somebody suspended it; `equal`: counts that must be the same.
"""

from __future__ import annotations

from msgspec import Struct


class Fact(Struct, frozen=True, kw_only=True):
    group: str
    kinds: tuple[str, ...]
    source: str  # the API documentation that says so
    ready: tuple[str, ...] = ()
    bad: tuple[str, ...] = ()
    progressing: tuple[str, ...] = ()  # reasons of a False ready condition, or of a bad one, that are not final
    patient: bool = False
    final: tuple[str, ...] = ()
    no: tuple[str, ...] = ("False",)  # what a ready condition says when it is not
    busy: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    equal: tuple[str, ...] = ()  # dotted paths from the object's root
    phase: str = ""  # dotted path from the object's root
    healthy: tuple[str, ...] = ()
    degraded: tuple[str, ...] = ()
    suspended: tuple[str, ...] = ()
    message: str = ""  # dotted path of the words that go with the phase
    suspend: str = ""  # dotted path of the field that is true when somebody suspended it


def _kinds(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_READY = ("Ready",)
_FLUX_PROGRESS = ("Progressing", "ProgressingWithRetry", "DependencyNotReady", "ArtifactOutdated")
_CAPI = "Cluster API book, v1beta1 conditions"
_KNATIVE = "Knative API specification, error conditions and reporting"
_STRIMZI = "Strimzi documentation, status of custom resources"
_EXTERNAL_SECRETS = "External Secrets Operator API reference, status conditions"
_CROSSPLANE = "Crossplane documentation, managed resource conditions"
_TEKTON = "Tekton documentation, execution status"
_GATEWAY = "Gateway API reference, conditions"
_PROMETHEUS = "prometheus-operator API reference, Available and Reconciled"
_ROOK = "Rook documentation, status of custom resources"
_KARPENTER = "Karpenter documentation, NodePool, NodeClass and NodeClaim conditions"

ROWS: tuple[Fact, ...] = (
    # cert-manager
    Fact(group="cert-manager.io", kinds=("Certificate",), ready=_READY, busy=("Issuing",),
         source="cert-manager API, Certificate; argo-cd health.lua"),
    Fact(group="cert-manager.io", kinds=_kinds("Issuer ClusterIssuer"), ready=_READY,
         source="cert-manager API, IssuerCondition"),
    Fact(group="cert-manager.io", kinds=("CertificateRequest",), ready=_READY, bad=("Denied", "InvalidRequest"),
         progressing=("Pending",), source="cert-manager API, CertificateRequestCondition"),
    Fact(group="acme.cert-manager.io", kinds=_kinds("Order Challenge"), phase="status.state", healthy=("valid",
         "ready"),
         degraded=("invalid", "expired", "errored"), message="status.reason", source="cert-manager ACME API, State"),
    # Flux
    Fact(group="source.toolkit.fluxcd.io", kinds=_kinds("GitRepository OCIRepository HelmRepository HelmChart Bucket "
         "ExternalArtifact"), ready=_READY, bad=("Stalled",), progressing=_FLUX_PROGRESS, suspend="spec.suspend",
         source="Flux source API, conditions"),
    Fact(group="kustomize.toolkit.fluxcd.io", kinds=("Kustomization",), ready=_READY, bad=("Stalled",),
         progressing=_FLUX_PROGRESS, suspend="spec.suspend", source="Flux kustomize API, conditions"),
    Fact(group="helm.toolkit.fluxcd.io", kinds=("HelmRelease",), ready=_READY, bad=("Stalled",),
         progressing=_FLUX_PROGRESS, suspend="spec.suspend", source="Flux helm API, conditions"),
    Fact(group="notification.toolkit.fluxcd.io", kinds=("Receiver",), ready=_READY, bad=("Stalled",),
         progressing=_FLUX_PROGRESS, suspend="spec.suspend", source="Flux notification API, conditions"),
    Fact(group="image.toolkit.fluxcd.io", kinds=_kinds("ImageRepository ImagePolicy ImageUpdateAutomation"),
         ready=_READY,
         bad=("Stalled",), progressing=_FLUX_PROGRESS, suspend="spec.suspend", source="Flux image API, conditions"),
    # Argo
    Fact(group="argoproj.io", kinds=("Application",), phase="status.health.status", healthy=("Healthy",),
         degraded=("Degraded", "Missing"), suspended=("Suspended",), message="status.health.message",
         source="Argo CD Application specification, status.health"),
    Fact(group="argoproj.io", kinds=("Rollout",), phase="status.phase", healthy=("Healthy",), degraded=("Degraded",),
         suspended=("Paused",), message="status.message", source="Argo Rollouts specification, status.phase"),
    Fact(group="argoproj.io", kinds=_kinds("AnalysisRun Experiment"), phase="status.phase", healthy=("Successful",),
         degraded=("Failed", "Error", "Inconclusive"), message="status.message",
         source="Argo Rollouts API, AnalysisPhase"),
    Fact(group="argoproj.io", kinds=("Workflow",), phase="status.phase", healthy=("Succeeded",),
         degraded=("Failed", "Error"), message="status.message",
         source="Argo Workflows field reference, WorkflowPhase"),
    Fact(group="argoproj.io", kinds=_kinds("EventBus EventSource Sensor"), ready=("Deployed",),
         source="Argo Events API, status conditions"),
    # Knative
    Fact(group="serving.knative.dev", kinds=_kinds("Service Route Configuration Revision DomainMapping"), ready=_READY,
         progressing=("Unknown", "Deploying", "ContainerCreating", "RevisionMissing"), source=_KNATIVE),
    Fact(group="eventing.knative.dev", kinds=_kinds("Broker Trigger"), ready=_READY, patient=True, source=_KNATIVE),
    Fact(group="messaging.knative.dev", kinds=_kinds("Channel InMemoryChannel Subscription"), ready=_READY,
         patient=True,
         source=_KNATIVE),
    Fact(group="sources.knative.dev", kinds=_kinds("ApiServerSource PingSource ContainerSource SinkBinding"),
         ready=_READY, patient=True, source=_KNATIVE),
    Fact(group="flows.knative.dev", kinds=_kinds("Parallel Sequence"), ready=_READY, patient=True, source=_KNATIVE),
    # Gateway API
    Fact(group="gateway.networking.k8s.io", kinds=("GatewayClass",), ready=("Accepted",), progressing=("Pending",),
         source=_GATEWAY),
    # External Secrets
    Fact(group="external-secrets.io",
         kinds=_kinds("ExternalSecret SecretStore ClusterSecretStore ClusterExternalSecret "
         "PushSecret"), ready=_READY, source=_EXTERNAL_SECRETS),
    # Strimzi
    Fact(group="kafka.strimzi.io", kinds=_kinds("Kafka KafkaTopic KafkaUser KafkaConnect KafkaConnector KafkaBridge "
         "KafkaMirrorMaker2 KafkaRebalance"), ready=_READY, bad=("NotReady",), progressing=("Creating",), patient=True,
         source=_STRIMZI),
    # KEDA
    Fact(group="keda.sh", kinds=("ScaledObject",), ready=_READY, bad=("Fallback",), held=("Paused",),
         source="KEDA documentation, conditions of ScaledObject; argo-cd health.lua"),
    Fact(group="keda.sh", kinds=("ScaledJob",), ready=_READY, no=("False", "Unknown"), held=("Paused",),
         source="KEDA documentation, conditions of ScaledJob; argo-cd health.lua"),
    # Prometheus operator
    Fact(group="monitoring.coreos.com", kinds=_kinds("Prometheus Alertmanager PrometheusAgent ThanosRuler"),
         ready=("Available",), no=("False", "Degraded", "Unknown"), progressing=("SomePodsNotReady",),
         needed=("Reconciled",), suspend="spec.paused", source=_PROMETHEUS),
    # Cluster API
    Fact(group="cluster.x-k8s.io", kinds=("Cluster",), phase="status.phase", healthy=("Provisioned",),
         degraded=("Failed",), message="status.failureMessage", needed=_READY, suspend="spec.paused",
         source=_CAPI),
    Fact(group="cluster.x-k8s.io", kinds=_kinds("Machine MachinePool"), phase="status.phase", healthy=("Running",),
         degraded=("Failed",), message="status.failureMessage", source=_CAPI),
    Fact(group="cluster.x-k8s.io", kinds=("MachineDeployment",), phase="status.phase",
         healthy=("Running",), degraded=("Failed",), suspend="spec.paused",
         equal=("status.replicas", "status.updatedReplicas", "status.readyReplicas"), source=_CAPI),
    Fact(group="cluster.x-k8s.io", kinds=("MachineSet",), phase="status.phase",
         healthy=("Running",), degraded=("Failed",), ready=_READY, patient=True, source=_CAPI),
    Fact(group="controlplane.cluster.x-k8s.io", kinds=("KubeadmControlPlane",), ready=_READY, patient=True,
         source=_CAPI),
    Fact(group="addons.cluster.x-k8s.io", kinds=("ClusterResourceSet",),
         ready=("ResourcesApplied",), source=_CAPI),
    # Rook
    Fact(group="ceph.rook.io", kinds=_kinds("CephCluster"), phase="status.phase", healthy=("Ready",),
         degraded=("Failure", "Error"), message="status.message", source=_ROOK),
    Fact(group="ceph.rook.io", kinds=_kinds("CephBlockPool CephFilesystem CephObjectStore CephObjectStoreUser CephNFS "
         "CephClient CephFilesystemSubVolumeGroup CephRBDMirror"), phase="status.phase",
         healthy=("Ready", "Connected"), degraded=("Failure", "Error", "ReconcileFailed"), source=_ROOK),
    Fact(group="objectbucket.io", kinds=_kinds("ObjectBucketClaim ObjectBucket"), phase="status.phase",
         healthy=("bound", "Bound"), degraded=("failed", "Failed"), source="lib-bucket-provisioner, ObjectBucketClaim"),
    # Databases
    Fact(group="postgresql.cnpg.io", kinds=("Cluster",), phase="status.phase", message="status.phaseReason",
         healthy=("Cluster in healthy state",), held=("cnpg.io/hibernation",),
         degraded=("Switchover in progress", "Failing over", "Upgrading Postgres major version",
                   "Cluster upgrade delayed", "Waiting for user action",
                   "Primary instance is being restarted in-place",
                   "Primary instance is being restarted without a switchover",
                   "Cluster cannot execute instance online upgrade due to missing architecture binary",
                   "Online upgrade in progress", "Applying configuration"),
         suspended=("Unable to create required cluster objects",
                    "Cluster cannot proceed to reconciliation due to an unknown plugin being required",
                    "Cluster has incomplete or invalid image catalog",
                    "Cluster is unrecoverable and needs manual intervention"),
         source="CloudNativePG API, phases of a Cluster; argo-cd health.lua"),
    Fact(group="postgresql.cnpg.io", kinds=("Backup",), phase="status.phase", healthy=("completed",),
         degraded=("failed", "walArchivingFailing"), message="status.error",
         source="CloudNativePG API reference, BackupPhase"),
    Fact(group="acid.zalan.do", kinds=("postgresql",), phase="status.PostgresClusterStatus", healthy=("Running",),
         degraded=("CreateFailed", "UpdateFailed", "SyncFailed", "Invalid"),
         source="Zalando postgres-operator reference, cluster manifest status"),
    Fact(group="mongodb.com", kinds=_kinds("MongoDB MongoDBOpsManager MongoDBUser"), phase="status.phase",
         healthy=("Running", "Updated"), degraded=("Failed",), suspended=("Disabled",), message="status.message",
         source="MongoDB Kubernetes operator, status.phase"),
    Fact(group="mongodbcommunity.mongodb.com", kinds=("MongoDBCommunity",), phase="status.phase", healthy=("Running",),
         degraded=("Failed",), message="status.message", source="MongoDB community operator, Phase"),
    Fact(group="psmdb.percona.com", kinds=("PerconaServerMongoDB",), phase="status.state", healthy=("ready",),
         degraded=("error",), suspended=("paused",), message="status.message", source="Percona operators, AppState"),
    Fact(group="pxc.percona.com", kinds=("PerconaXtraDBCluster",), phase="status.state", healthy=("ready",),
         degraded=("error", "stopping"), suspended=("paused",), source="Percona operators, AppState"),
    Fact(group="pgv2.percona.com", kinds=("PerconaPGCluster",), phase="status.state", healthy=("ready",),
         degraded=("error",), suspended=("paused",), source="Percona operators, AppState"),
    Fact(group="ps.percona.com", kinds=("PerconaServerMySQL",), phase="status.state", healthy=("ready",),
         degraded=("error",), suspended=("paused",), source="Percona operators, AppState"),
    Fact(group="kibana.k8s.elastic.co", kinds=("Kibana",), phase="status.health", healthy=("green",), degraded=("red",),
         source="Elastic Cloud on Kubernetes API, DeploymentHealth"),
    Fact(group="apm.k8s.elastic.co", kinds=("ApmServer",), phase="status.health", healthy=("green",), degraded=("red",),
         source="Elastic Cloud on Kubernetes API, DeploymentHealth"),
    Fact(group="beat.k8s.elastic.co", kinds=("Beat",), phase="status.health", healthy=("green",), degraded=("red",),
         source="Elastic Cloud on Kubernetes API, BeatHealth"),
    Fact(group="agent.k8s.elastic.co", kinds=("Agent",), phase="status.health", healthy=("green",), degraded=("red",),
         source="Elastic Cloud on Kubernetes API, AgentHealth"),
    Fact(group="rabbitmq.com", kinds=("RabbitmqCluster",), ready=("AllReplicasReady", "ClusterAvailable"), patient=True,
         needed=("ReconcileSuccess",),
         source="RabbitMQ cluster operator, status conditions"),
    Fact(group="rabbitmq.com", kinds=_kinds("Queue Exchange Binding User Vhost Policy Permission SchemaReplication "
         "Federation Shovel SuperStream TopicPermission OperatorPolicy"), ready=_READY,
         source="RabbitMQ messaging topology operator, status conditions"),
    Fact(group="minio.min.io", kinds=("Tenant",), phase="status.currentState", healthy=("Initialized",),
         degraded=("Statefulset not controlled by operator", "Different versions across MinIO Pools",
                   "Another MinIO Tenant already exists in the namespace"),
         source="MinIO operator, Tenant status.currentState"),
    Fact(group="clickhouse.altinity.com", kinds=("ClickHouseInstallation",), phase="status.status",
         healthy=("Completed",), degraded=("Aborted",), message="status.error",
         source="Altinity clickhouse-operator, status"),
    Fact(group="k8s.mariadb.com", kinds=_kinds("MariaDB MaxScale Database User Grant Connection"),
         ready=_READY, patient=True, final=("Failed",), source="mariadb-operator API reference, conditions"),
    Fact(group="k8s.mariadb.com", kinds=_kinds("Backup Restore SqlJob"), ready=("Complete",), bad=("Failed",),
         patient=True,
         source="mariadb-operator API reference, conditions"),
    Fact(group="kubedb.com", kinds=_kinds("Postgres MySQL MongoDB Redis Elasticsearch Kafka MariaDB"),
         phase="status.phase", healthy=("Ready",), degraded=("NotReady", "Critical"), suspended=("Halted",),
         source="KubeDB documentation, DatabasePhase"),
    Fact(group="tidb.pingcap.com", kinds=("TidbCluster",), ready=_READY, patient=True, source="TiDB operator API"),
    Fact(group="cassandra.datastax.com", kinds=("CassandraDatacenter",), ready=_READY, patient=True,
         source="cass-operator, DatacenterConditionType"),
    # Tekton, batch
    Fact(group="tekton.dev", kinds=_kinds("PipelineRun TaskRun CustomRun Run"), ready=("Succeeded",),
         progressing=("Running", "Started", "Pending"), source=_TEKTON),
    Fact(group="operator.tekton.dev", kinds=_kinds("TektonConfig TektonPipeline TektonTrigger TektonDashboard "
         "TektonChain TektonHub"), ready=_READY, patient=True, source="Tekton operator, status conditions"),
    Fact(group="batch.volcano.sh", kinds=("Job",), phase="status.state.phase", healthy=("Completed",),
         degraded=("Failed", "Aborted", "Terminated"), message="status.state.message", source="Volcano, JobPhase"),
    Fact(group="sparkoperator.k8s.io", kinds=_kinds("SparkApplication"), phase="status.applicationState.state",
         healthy=("RUNNING", "COMPLETED"), degraded=("FAILED", "SUBMISSION_FAILED", "FAILING"),
         message="status.applicationState.errorMessage", source="Spark operator API, ApplicationStateType"),
    Fact(group="flink.apache.org", kinds=("FlinkDeployment",), phase="status.lifecycleState", healthy=("STABLE",),
         degraded=("FAILED", "ROLLED_BACK"), suspended=("SUSPENDED",), message="status.error",
         source="Flink Kubernetes operator, ResourceLifecycleState"),
    Fact(group="ray.io", kinds=("RayCluster",), phase="status.state", healthy=("ready",), degraded=("failed",),
         suspended=("suspended",), message="status.reason", source="KubeRay API, ClusterState"),
    Fact(group="ray.io", kinds=("RayJob",), phase="status.jobDeploymentStatus", healthy=("Complete",),
         degraded=("Failed",), suspended=("Suspended",), message="status.message",
         source="KubeRay API, JobDeploymentStatus"),
    Fact(group="kubeflow.org", kinds=_kinds("PyTorchJob TFJob MPIJob XGBoostJob PaddleJob JAXJob"),
         ready=("Succeeded",), bad=("Failed",), patient=True, source="Kubeflow training operator, JobConditionType"),
    Fact(group="serving.kserve.io", kinds=_kinds("InferenceService InferenceGraph"), ready=_READY,
         source="KServe API, status conditions"),
    Fact(group="kueue.x-k8s.io", kinds=_kinds("ClusterQueue LocalQueue"), ready=("Active",),
         source="Kueue API, conditions"),
    Fact(group="jobset.x-k8s.io", kinds=("JobSet",), ready=("Completed",), bad=("Failed",), patient=True,
         suspend="spec.suspend", source="JobSet API, conditions"),
    # Nodes and machines
    Fact(group="karpenter.sh", kinds=("NodePool",), ready=_READY, needed=("NodeClassReady",), source=_KARPENTER),
    Fact(group="karpenter.sh", kinds=("NodeClaim",), ready=_READY, patient=True, source=_KARPENTER),
    Fact(group="karpenter.k8s.aws", kinds=("EC2NodeClass",), ready=_READY, source=_KARPENTER),
    # Networking
    Fact(group="projectcontour.io", kinds=("HTTPProxy",), phase="status.currentStatus", healthy=("valid",),
         degraded=("invalid", "orphaned"), message="status.description", source="Contour, HTTPProxy status"),
    Fact(group="bitnami.com", kinds=("SealedSecret",), ready=("Synced",),
         source="Sealed Secrets, SealedSecretCondition"),
    Fact(group="kyverno.io", kinds=_kinds("Policy ClusterPolicy CleanupPolicy ClusterCleanupPolicy"), ready=_READY,
         source="Kyverno CRD reference, status conditions"),
    # Crossplane (core kinds; managed resources by READY + SYNCED)
    Fact(group="pkg.crossplane.io", kinds=_kinds("Provider Function Configuration"), ready=("Installed", "Healthy"),
         source=_CROSSPLANE),
    Fact(group="pkg.crossplane.io", kinds=_kinds("ProviderRevision FunctionRevision ConfigurationRevision"),
         ready=("Healthy",), patient=True, source=_CROSSPLANE),
    Fact(group="apiextensions.crossplane.io", kinds=("CompositeResourceDefinition",), ready=("Established",),
         patient=True, source=_CROSSPLANE),
    # Backups and volumes
    Fact(group="velero.io", kinds=_kinds("Backup Restore"), phase="status.phase", healthy=("Completed",),
         degraded=("Failed", "PartiallyFailed", "FailedValidation", "FinalizingPartiallyFailed"),
         message="status.failureReason", source="Velero API types, phases"),
    Fact(group="velero.io", kinds=("BackupStorageLocation",), phase="status.phase", healthy=("Available",),
         degraded=("Unavailable",), message="status.message", source="Velero API types, phases"),
    Fact(group="velero.io", kinds=("Schedule",), phase="status.phase", healthy=("Enabled",),
         degraded=("FailedValidation",), suspend="spec.paused", source="Velero API types, phases"),
    # Operators and platforms
    Fact(group="operators.coreos.com", kinds=("ClusterServiceVersion",), phase="status.phase", healthy=("Succeeded",),
         degraded=("Failed",), message="status.message",
         source="Operator Lifecycle Manager, ClusterServiceVersionPhase"),
    Fact(group="operators.coreos.com", kinds=("InstallPlan",), phase="status.phase", healthy=("Complete",),
         degraded=("Failed",), suspended=("RequiresApproval",), source="Operator Lifecycle Manager, InstallPlanPhase"),
    Fact(group="config.openshift.io", kinds=("ClusterOperator",), ready=("Available",), bad=("Degraded",), patient=True,
         source="OpenShift, ClusterOperator conditions"),
    Fact(group="apps.open-cluster-management.io", kinds=("Subscription",), phase="status.phase",
         healthy=("Propagated", "Subscribed"), degraded=("Failed", "PropagationFailed"), message="status.reason",
         source="Open Cluster Management, SubscriptionPhase"),
    Fact(group="infra.contrib.fluxcd.io", kinds=("Terraform",), ready=_READY, bad=("Stalled",),
         progressing=(*_FLUX_PROGRESS, "TerraformPlannedWithChanges"), suspend="spec.suspend",
         source="tofu-controller, conditions"),
    Fact(group="jaegertracing.io", kinds=("Jaeger",), phase="status.phase", healthy=("Running",), degraded=("Failed",),
         source="Jaeger operator API, JaegerPhase"),
    Fact(group="grafana.integreatly.org", kinds=("Grafana",), phase="status.stageStatus", healthy=("success",),
         degraded=("failed",), message="status.lastMessage", source="grafana-operator API, GrafanaStatus"),
    Fact(group="k8s.keycloak.org", kinds=("Keycloak",), ready=_READY, bad=("HasErrors",), patient=True,
         source="Keycloak operator, status conditions"),
    Fact(group="k8s.keycloak.org", kinds=("KeycloakRealmImport",), ready=("Done",), bad=("HasErrors",), patient=True,
         source="Keycloak operator, status conditions"),
    Fact(group="camel.apache.org", kinds=_kinds("Integration IntegrationPlatform IntegrationKit"), phase="status.phase",
         healthy=("Running", "Ready", "Deployed"), degraded=("Error",),
         source="Camel K API, phases"),
    Fact(group="zookeeper.pravega.io", kinds=("ZookeeperCluster",), ready=("PodsReady",), bad=("Error",), patient=True,
         source="zookeeper-operator, ClusterConditionType"),
    Fact(group="temporal.io", kinds=("TemporalCluster",), ready=_READY, patient=True, source="temporal-operator API"),
)  # fmt: skip

FACTS: dict[tuple[str, str], Fact] = {(row.group, kind): row for row in ROWS for kind in row.kinds}
