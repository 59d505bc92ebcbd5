"""What is done with each field of Flux's resources.

Source: the api modules of source-controller v1.9.6, kustomize-controller v1.9.6, helm-controller v1.6.5,
notification-controller v1.9.4, image-reflector-controller v1.2.5, image-automation-controller v1.2.5.
"""

from __future__ import annotations

from trueup.core.fields import Field, Kind, different, refused, served

PRODUCT = "Flux"
SHOWN = "read and shown by `trueup inspect`, and no more"
PUSHED = (
    "every push is deployed once its checks are green, drift is put back, and what Git no longer states is deleted, "
    "with Trueup's own brakes, whatever this says"
)
TOGETHER = "shown; everything of a repository is rolled out together, ordered by kinds, waves and what objects use"
HEALTHY = "a rollout counts once every object is healthy by Trueup's own rules"
SOURCE, KUSTOMIZE, HELM = "source.toolkit.fluxcd.io", "kustomize.toolkit.fluxcd.io", "helm.toolkit.fluxcd.io"
IMAGE, NOTIFICATION = "image.toolkit.fluxcd.io", "notification.toolkit.fluxcd.io"
IDENTITY = "Trueup acts under its own identity and impersonates no service account"
VERIFIED = "signatures are not verified yet: what is not verified must not look as if it were"
FETCHED = "read and shown; the source is fetched by Trueup's own means, with credentials of its own"
OWN = "this cluster is the only one that is served: remove `kubeConfig`"
_TARGET = "target.{group,version,kind,name,namespace,labelSelector,annotationSelector}"


def _common() -> tuple[Field, ...]:
    return (
        *different("a push starts it, not the clock", "spec.interval"),
        *different("nothing of a repository is deployed while an application in it is suspended", "spec.suspend"),
    )


def _source(*more: Field) -> tuple[Field, ...]:
    return (*_common(), *more)


GIT = Kind(
    PRODUCT, SOURCE, "v1", "GitRepository",
    _source(
        *served("spec.url"),
        *different(
            "when the source is this repository it is rendered at the commit at hand; else at this branch, tag, name "
            "or commit", "spec.ref.{branch,tag,name,commit}",
        ),
        *different(FETCHED, "spec.timeout spec.secretRef.name spec.proxySecretRef.name spec.provider"),
        *different("nothing below what it leaves out is rendered by Trueup either when a path leads there; "
                   "the rest of the repository is read whole", "spec.sparseCheckout"),
        *refused("a range of tags is not looked for: name the tag", "spec.ref.semver"),
        *refused("files are not left out of a source yet", "spec.ignore"),
        *refused("sources are not put together yet", "spec.include[].{fromPath,toPath} spec.include[].repository.name"),
        *refused("submodules are not followed", "spec.recurseSubmodules"),
        *refused(VERIFIED, "spec.verify.mode spec.verify.secretRef.name"),
        *refused(IDENTITY, "spec.serviceAccountName"),
    ),
)  # fmt: skip

OCI = Kind(
    PRODUCT, SOURCE, "v1", "OCIRepository",
    _source(
        *served("spec.url"),
        *different(FETCHED, "spec.ref.{tag,semver,semverFilter,digest} spec.timeout spec.secretRef.name",
                   "spec.proxySecretRef.name spec.certSecretRef.name spec.provider spec.insecure",
                   "spec.layerSelector.{mediaType,operation}"),
        *refused("files are not left out of a source yet", "spec.ignore"),
        *refused(VERIFIED, "spec.verify.provider spec.verify.secretRef.name spec.verify.trustedRootSecretRef.name",
                 "spec.verify.matchOIDCIdentity[].{issuer,subject}"),
        *refused(IDENTITY, "spec.serviceAccountName"),
    ),
)  # fmt: skip

HELM_REPOSITORY = Kind(
    PRODUCT, SOURCE, "v1", "HelmRepository",
    _source(
        *served("spec.url spec.type"),
        *different(FETCHED, "spec.timeout spec.secretRef.name spec.certSecretRef.name spec.provider spec.insecure",
                   "spec.passCredentials"),
        *refused("who may use a source is not decided by labels of namespaces", "spec.accessFrom.namespaceSelectors[]"
                 ".matchLabels"),
    ),
)  # fmt: skip

HELM_CHART = Kind(
    PRODUCT, SOURCE, "v1", "HelmChart",
    _source(
        *served("spec.{chart,version,valuesFiles,ignoreMissingValuesFiles} spec.sourceRef.{apiVersion,kind,name}"),
        *different("what changed is known by content, whatever the version says", "spec.reconcileStrategy"),
        *refused(VERIFIED, "spec.verify.provider spec.verify.secretRef.name",
                 "spec.verify.matchOIDCIdentity[].{issuer,subject}"),
    ),
)  # fmt: skip

BUCKET = Kind(
    PRODUCT, SOURCE, "v1", "Bucket",
    _source(
        *different(SHOWN, "spec.{bucketName,endpoint,prefix,region,provider,insecure,timeout} spec.secretRef.name",
                   "spec.certSecretRef.name spec.proxySecretRef.name"),
        *refused("temporary credentials are not asked for", "spec.sts.{endpoint,provider} spec.sts.secretRef.name",
                 "spec.sts.certSecretRef.name"),
        *refused("files are not left out of a source yet", "spec.ignore"),
        *refused(IDENTITY, "spec.serviceAccountName"),
    ),
)  # fmt: skip

EXTERNAL = Kind(
    PRODUCT, SOURCE, "v1", "ExternalArtifact",
    refused("an artifact of another controller cannot be fetched without it",
            "spec.sourceRef.{apiVersion,kind,name,namespace}"),
)  # fmt: skip

KUSTOMIZATION = Kind(
    PRODUCT, KUSTOMIZE, "v1", "Kustomization",
    (
        *_common(),
        *served(
            "spec.path spec.sourceRef.{apiVersion,kind,name,namespace} spec.{targetNamespace,namePrefix,nameSuffix}",
            "spec.components spec.ignoreMissingComponents spec.images[].{name,newName,newTag,digest}",
            f"spec.patches[].patch spec.patches[].{_TARGET}",
            "spec.commonMetadata.{labels,annotations}",
            "spec.postBuild.substitute",
        ),
        *different(TOGETHER, "spec.dependsOn[].{name,namespace}"),
        *different(PUSHED, "spec.{prune,force,deletionPolicy,retryInterval}"),
        *different(HEALTHY, "spec.{wait,timeout} spec.healthChecks[].{apiVersion,kind,name,namespace}",
                   "spec.healthCheckExprs[].{apiVersion,kind,current,failed,inProgress}"),
        *different("only the fields that Git states are compared and put back; state none that others decide",
                   f"spec.ignore[].paths spec.ignore[].{_TARGET}"),
        *different("what SOPS encrypted is opened with the keys that Trueup was given (docs/secrets.md)",
                   "spec.decryption.provider spec.decryption.secretRef.name"),
        *different(
            "a ConfigMap or Secret is read where this repository states it; one that it does not state must be "
            "`optional`", "spec.postBuild.substituteFrom[].{kind,name,optional}",
        ),
        *refused("conditions in CEL are not evaluated yet", "spec.dependsOn[].readyExpr"),
        *refused("origins of objects are not written into them", "spec.buildMetadata"),
        *refused("variables are put in once, in the order that the fields state", "spec.postBuild.substituteStrategy"),
        *refused(IDENTITY, "spec.serviceAccountName spec.decryption.serviceAccountName"),
        *refused(OWN, "spec.kubeConfig.secretRef.{name,key} spec.kubeConfig.configMapRef.name"),
    ),
)  # fmt: skip

_ACTIONS = "{install,upgrade,rollback,uninstall,test}"
HELM_RELEASE = Kind(
    PRODUCT, HELM, "v2", "HelmRelease",
    (
        *_common(),
        *served(
            "spec.{releaseName,targetNamespace,values}",
            "spec.chart.spec.{chart,version,valuesFiles,ignoreMissingValuesFiles}",
            "spec.chart.spec.sourceRef.{apiVersion,kind,name,namespace}",
            "spec.chartRef.{apiVersion,kind,name,namespace}",
            "spec.install.{skipCRDs,disableSchemaValidation}",
        ),
        *different(TOGETHER, "spec.dependsOn[].{name,namespace}"),
        *different(
            "a ConfigMap or Secret is read where this repository states it; one that it does not state must be "
            "`optional`", "spec.valuesFrom[].{kind,name,valuesKey,targetPath,optional,literal}",
        ),
        *different("what changed is known by content, whatever the version says", "spec.chart.spec.reconcileStrategy"),
        *different("a push starts it, not the clock", "spec.chart.spec.interval"),
        *different("no HelmChart is made, so there is none to label", "spec.chart.metadata.{labels,annotations}"),
        *different(
            "objects are applied as any others: Helm keeps no release of them, and Trueup judges, stops and undoes",
            "spec.{timeout,maxHistory,storageNamespace,persistentClient} spec.waitStrategy.name",
            "spec.{install,upgrade}.{crds,disableHooks,disableWait,disableWaitForJobs,timeout,serverSideApply}",
            "spec.{install,upgrade}.{disableOpenAPIValidation,disableTakeOwnership}",
            "spec.{install,upgrade}.remediation.{retries,ignoreTestFailures,remediateLastFailure}",
            "spec.{install,upgrade}.strategy.{name,retryInterval}",
            "spec.install.{createNamespace,replace}",
            "spec.upgrade.{cleanupOnFail,force,preserveValues,disableSchemaValidation,chartNameChangeStrategy}",
            "spec.upgrade.remediation.strategy",
            "spec.rollback.{cleanupOnFail,disableHooks,disableWait,disableWaitForJobs,force,recreate,serverSideApply}",
            "spec.rollback.timeout",
            "spec.uninstall.{deletionPropagation,disableHooks,disableWait,keepHistory,timeout}",
            "spec.test.{enable,ignoreFailures,timeout} spec.test.filters[].{name,exclude}",
            f"spec.driftDetection.mode spec.driftDetection.ignore[].paths spec.driftDetection.ignore[].{_TARGET}",
            "spec.healthCheckExprs[].{apiVersion,kind,current,failed,inProgress}",
        ),
        *refused(
            "patches after a chart's rendering are not applied yet: write values, or a kustomization",
            f"spec.postRenderers[].kustomize.patches[].patch spec.postRenderers[].kustomize.patches[].{_TARGET}",
            "spec.postRenderers[].kustomize.images[].{name,newName,newTag,digest} spec.postRenderStrategy",
            "spec.commonMetadata.{labels,annotations}",
        ),
        *refused(VERIFIED, "spec.chart.spec.verify.provider spec.chart.spec.verify.secretRef.name"),
        *refused("conditions in CEL are not evaluated yet", "spec.dependsOn[].readyExpr"),
        *refused(IDENTITY, "spec.serviceAccountName"),
        *refused(OWN, "spec.kubeConfig.secretRef.{name,key} spec.kubeConfig.configMapRef.name"),
    ),
)  # fmt: skip

IMAGE_REPOSITORY = Kind(
    PRODUCT, IMAGE, "v1", "ImageRepository",
    (
        *_common(),
        *different(SHOWN, "spec.{image,exclusionList,provider,insecure,timeout} spec.secretRef.name",
                   "spec.certSecretRef.name spec.proxySecretRef.name"),
        *refused("who may use a source is not decided by labels of namespaces",
                 "spec.accessFrom.namespaceSelectors[].matchLabels"),
        *refused(IDENTITY, "spec.serviceAccountName"),
    ),
)  # fmt: skip

IMAGE_POLICY = Kind(
    PRODUCT, IMAGE, "v1", "ImagePolicy",
    (
        *_common(),
        *different("Trueup selects a tag as Flux does; no registry is asked for tags yet",
                   "spec.imageRepositoryRef.{name,namespace} spec.filterTags.{pattern,extract}",
                   "spec.policy.semver.range spec.policy.{alphabetical,numerical}.order"),
        *different(SHOWN, "spec.digestReflectionPolicy"),
    ),
)  # fmt: skip

IMAGE_AUTOMATION = Kind(
    PRODUCT, IMAGE, "v1", "ImageUpdateAutomation",
    (
        *_common(),
        *different(
            SHOWN,
            "spec.sourceRef.{apiVersion,kind,name,namespace} spec.update.{path,strategy}",
            "spec.git.checkout.ref.{branch,tag,semver,name,commit} spec.git.push.{branch,refspec,options}",
            "spec.git.commit.author.{name,email} spec.git.commit.{messageTemplate,messageTemplateValues}",
            "spec.policySelector.matchLabels spec.policySelector.matchExpressions[].{key,operator,values}",
        ),
        *refused("commits are signed with Trueup's own key", "spec.git.commit.signingKey.secretRef.name",
                 "spec.git.commit.signingKey.type"),
    ),
)  # fmt: skip

ALERT = Kind(
    PRODUCT, NOTIFICATION, "v1beta3", "Alert",
    (
        *different(SHOWN, "spec.{suspend,summary,eventSeverity,eventMetadata,inclusionList,exclusionList}",
                   "spec.providerRef.name spec.eventSources[].{apiVersion,kind,name,namespace,matchLabels}"),
    ),
)  # fmt: skip

PROVIDER = Kind(
    PRODUCT, NOTIFICATION, "v1beta3", "Provider",
    (
        *different(SHOWN, "spec.{type,address,channel,username,interval,timeout,suspend} spec.secretRef.name",
                   "spec.certSecretRef.name spec.proxySecretRef.name spec.proxy"),
        *refused("conditions in CEL are not evaluated yet", "spec.commitStatusExpr"),
        *refused(IDENTITY, "spec.serviceAccountName"),
    ),
)  # fmt: skip

RECEIVER = Kind(
    PRODUCT, NOTIFICATION, "v1", "Receiver",
    (
        *_common(),
        *different("webhooks come in at Trueup's own address (docs/git.md)",
                   "spec.{type,events} spec.secretRef.name",
                   "spec.resources[].{apiVersion,kind,name,namespace,matchLabels}"),
        *refused("conditions in CEL are not evaluated yet", "spec.resourceFilter spec.resources[].filter",
                 "spec.oidcProviders[].{audience,issuerURL} spec.oidcProviders[].validations[].{expression,message}",
                 "spec.oidcProviders[].variables[].{expression,name}"),
    ),
)  # fmt: skip

KINDS = (
    GIT, OCI, HELM_REPOSITORY, HELM_CHART, BUCKET, EXTERNAL, KUSTOMIZATION, HELM_RELEASE,
    IMAGE_REPOSITORY, IMAGE_POLICY, IMAGE_AUTOMATION, ALERT, PROVIDER, RECEIVER,
)  # fmt: skip
