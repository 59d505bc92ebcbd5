"""What is done with each field of Argo CD's resources. Source: Argo CD v3.5.7, manifests/crds."""

from __future__ import annotations

from trueup.core.fields import Kind, different, refused, served

GROUP, VERSION, PRODUCT = "argoproj.io", "v1alpha1", "Argo CD"

SHOWN = "read and shown by `trueup inspect`, and no more"
PUSHED = (
    "every push is deployed once its checks are green, drift is put back, and what Git no longer states is deleted, "
    "with Trueup's own brakes, whatever this says"
)
ASKED = "an operation under way is no part of what should run: use `trueup sync`"
HYDRATED = "the source hydrator commits to branches of its own: point `source` at what it writes"
DETECTED = "a plugin is a program of the repository, and none is run: commit what it prints"
BUNDLED = "the version of the tool is the one that Trueup is built with"
SECRET = "an API token would be needed, and none is read from the cluster yet"

_SOURCES = "{source,sources[]}"

APPLICATION = Kind(
    PRODUCT, GROUP, VERSION, "Application",
    (
        *served(
            "spec.project spec.destination.{name,server,namespace}",
            f"spec.{_SOURCES}.{{repoURL,path,chart,ref,name}}",
            f"spec.{_SOURCES}.directory.{{recurse,include,exclude}}",
            f"spec.{_SOURCES}.directory.jsonnet.{{extVars[],tlas[]}}.{{name,value,code}}",
            f"spec.{_SOURCES}.directory.jsonnet.libs",
            f"spec.{_SOURCES}.helm.{{releaseName,values,valuesObject,valueFiles,ignoreMissingValueFiles,kubeVersion}}",
            f"spec.{_SOURCES}.helm.{{apiVersions,namespace,skipCrds,skipSchemaValidation,skipTests}}",
            f"spec.{_SOURCES}.helm.parameters[].{{name,value,forceString}}",
            f"spec.{_SOURCES}.helm.fileParameters[].{{name,path}}",
            f"spec.{_SOURCES}.kustomize.{{namePrefix,nameSuffix,namespace,images,components,ignoreMissingComponents}}",
            f"spec.{_SOURCES}.kustomize.{{commonLabels,commonAnnotations,labelWithoutSelector,labelIncludeTemplates}}",
            f"spec.{_SOURCES}.kustomize.{{forceCommonLabels,forceCommonAnnotations}}",
            f"spec.{_SOURCES}.kustomize.replicas[].{{name,count}}",
            f"spec.{_SOURCES}.kustomize.patches[].{{patch,path,options}}",
            f"spec.{_SOURCES}.kustomize.patches[].target."
            "{group,version,kind,name,namespace,labelSelector,annotationSelector}",
        ),
        *different(
            "when the source is this repository it is rendered at the commit at hand; else at this revision or the "
            "newest chart of this range",
            f"spec.{_SOURCES}.targetRevision",
        ),
        *different(PUSHED, "spec.syncPolicy.automated.{enabled,prune,selfHeal,allowEmpty}"),
        *different(
            "only the fields that Git states are compared and put back; state none that others decide",
            "spec.ignoreDifferences[].{group,kind,name,namespace,jsonPointers,jqPathExpressions,managedFieldsManagers}",
        ),
        *different(
            "`CreateNamespace=true` makes the Namespace before anything else and never deletes it; the other options "
            "are always so or are named by `trueup check`: see docs/kubernetes.md",
            "spec.syncPolicy.syncOptions spec.syncPolicy.managedNamespaceMetadata.{labels,annotations}",
        ),
        *different(
            "what fails is tried again by Trueup's own rules",
            "spec.syncPolicy.retry.{limit,refresh} spec.syncPolicy.retry.backoff.{duration,factor,maxDuration}",
        ),
        *different("the ledger keeps the history", "spec.revisionHistoryLimit"),
        *different(SHOWN, "spec.info[].{name,value}"),
        *refused(BUNDLED, f"spec.{_SOURCES}.helm.version spec.{_SOURCES}.kustomize.version"),
        *refused("credentials of a chart's repository are not passed on", f"spec.{_SOURCES}.helm.passCredentials"),
        *refused("Kustomize charts are not rendered", f"spec.{_SOURCES}.kustomize.{{kubeVersion,apiVersions}}"),
        *refused(
            "Argo CD's build environment is not substituted: write the text itself",
            f"spec.{_SOURCES}.kustomize.commonAnnotationsEnvsubst",
        ),
        *refused("tags are not looked for by a prefix: name the tag", f"spec.{_SOURCES}.tagPrefix"),
        *refused(
            DETECTED,
            f"spec.{_SOURCES}.plugin.name spec.{_SOURCES}.plugin.env[].{{name,value}}",
            f"spec.{_SOURCES}.plugin.parameters[].{{name,string,array,map}}",
        ),
        *refused(HYDRATED, "spec.sourceHydrator"),
        *refused(ASKED, "operation"),
    ),
)  # fmt: skip

PROJECT = Kind(
    PRODUCT, GROUP, VERSION, "AppProject",
    (
        *served(
            "spec.sourceRepos",
            "spec.destinations[].{name,server,namespace}",
            "spec.{clusterResourceWhitelist,clusterResourceBlacklist}[].{group,kind,name}",
            "spec.{namespaceResourceWhitelist,namespaceResourceBlacklist}[].{group,kind}",
        ),
        *different("only for people: it decides nothing", "spec.description"),
        *different("an application belongs to its project in whatever namespace it stands", "spec.sourceNamespaces"),
        *different(
            "decided by Trueup's own rules (`core.project`); no sync asks them yet",
            "spec.syncWindows[].{kind,schedule,duration,timeZone,applications,namespaces,clusters,manualSync}",
            "spec.syncWindows[].{andOperator,syncOverrun,description}",
            "spec.orphanedResources.warn spec.orphanedResources.ignore[].{group,kind,name}",
            "spec.roles[].{name,description,groups,policies}",
        ),
        *refused(
            "tokens of Argo CD's API have no meaning here: remove them",
            "spec.roles[].jwtTokens[].{iat,exp,id}",
        ),
        *refused(
            "commit signatures are not verified yet: remove the keys, or keep this project with Argo CD",
            "spec.signatureKeys[].keyID",
            "spec.sourceIntegrity.git.policies[].gpg.{keys,mode} spec.sourceIntegrity.git.policies[].repos[].url",
        ),
        *refused("which clusters a project has is not known here", "spec.permitOnlyProjectScopedClusters"),
        *refused(
            "Trueup acts under its own identity and impersonates no service account",
            "spec.destinationServiceAccounts[].{server,namespace,defaultServiceAccount}",
        ),
    ),
)  # fmt: skip

_G = "spec.generators[]"
_FORGES = "{github,gitlab,gitea}"


def _selector(path: str) -> str:
    return f"{path}.matchLabels {path}.matchExpressions[].{{key,operator,values}}"


APPLICATION_SET = Kind(
    PRODUCT, GROUP, VERSION, "ApplicationSet",
    (
        *served(
            "spec.{goTemplate,goTemplateOptions,templatePatch}",
            "spec.template.metadata.{name,labels,annotations,finalizers}",
            f"{_G}.list.{{elements,elementsYaml}} {_G}.git.{{pathParamPrefix,values}}",
            f"{_G}.git.{{directories,files}}[].{{path,exclude}}",
            f"{_G}.merge.mergeKeys",
            _selector(f"{_G}.selector"),
            f"{_G}.clusters.{{values,flatList}}", _selector(f"{_G}.clusters.selector"),
        ),
        *different(
            "must be this repository, at the commit at hand", f"{_G}.git.{{repoURL,revision}}",
        ),
        *different("an Application is made in the namespace of its set", "spec.template.metadata.namespace"),
        *different("nested selectors count, as `applyNestedSelectors: true`", "spec.applyNestedSelectors"),
        *different("a push or a change of the cluster starts it anew; nothing is polled",
                   f"{_G}.{{git,pullRequest,scmProvider}}.requeueAfterSeconds"),
        *different(
            SHOWN,
            "spec.syncPolicy.{applicationsSync,preserveResourcesOnDeletion}",
            "spec.preservedFields.{labels,annotations}",
            "spec.ignoreApplicationDifferences[].{name,jsonPointers,jqPathExpressions}",
            "spec.strategy.{type,deletionOrder} spec.strategy.rollingSync.steps[].maxUpdate",
            "spec.strategy.rollingSync.steps[].matchExpressions[].{key,operator,values}",
        ),
        *refused(
            SECRET,
            f"{_G}.pullRequest.{_FORGES}.{{api,labels}} {_G}.pullRequest.{_FORGES}.tokenRef.{{secretName,key}}",
            f"{_G}.pullRequest.{{github,gitea}}.{{owner,repo}} {_G}.pullRequest.gitlab.{{project,pullRequestState}}",
            f"{_G}.pullRequest.github.appSecretName",
            f"{_G}.pullRequest.{{gitlab,gitea}}.insecure {_G}.pullRequest.gitlab.caRef.{{configMapName,key}}",
            f"{_G}.pullRequest.{{continueOnRepoNotFoundError,values}}",
            f"{_G}.pullRequest.filters[].{{branchMatch,targetBranchMatch,titleMatch}}",
            f"{_G}.scmProvider.{_FORGES}.{{api,allBranches}} {_G}.scmProvider.{_FORGES}.tokenRef.{{secretName,key}}",
            f"{_G}.scmProvider.github.{{organization,appSecretName,excludeArchivedRepos}}",
            f"{_G}.scmProvider.gitea.{{owner,insecure,excludeArchivedRepos}}",
            f"{_G}.scmProvider.gitlab.{{group,topic,insecure,includeArchivedRepos,includeSharedProjects}}",
            f"{_G}.scmProvider.gitlab.includeSubgroups {_G}.scmProvider.gitlab.caRef.{{configMapName,key}}",
            f"{_G}.scmProvider.{{cloneProtocol,values}}",
            f"{_G}.scmProvider.filters[].{{repositoryMatch,branchMatch,labelMatch,pathsExist,pathsDoNotExist}}",
        ),
        *refused(
            "Trueup speaks with GitHub, GitLab and Gitea",
            f"{_G}.pullRequest.azuredevops.{{api,labels,organization,project,repo}}",
            f"{_G}.pullRequest.azuredevops.tokenRef.{{secretName,key}}",
            f"{_G}.pullRequest.{{bitbucket,bitbucketServer}}.{{api,repo}}",
            f"{_G}.pullRequest.bitbucket.owner {_G}.pullRequest.bitbucketServer.{{project,insecure}}",
            f"{_G}.pullRequest.{{bitbucket,bitbucketServer}}.basicAuth.username",
            f"{_G}.pullRequest.{{bitbucket,bitbucketServer}}.basicAuth.passwordRef.{{secretName,key}}",
            f"{_G}.pullRequest.{{bitbucket,bitbucketServer}}.bearerToken.tokenRef.{{secretName,key}}",
            f"{_G}.{{pullRequest,scmProvider}}.bitbucketServer.caRef.{{configMapName,key}}",
            f"{_G}.scmProvider.awsCodeCommit.{{allBranches,region,role}}",
            f"{_G}.scmProvider.awsCodeCommit.tagFilters[].{{key,value}}",
            f"{_G}.scmProvider.azureDevOps.{{allBranches,api,organization,teamProject}}",
            f"{_G}.scmProvider.azureDevOps.accessTokenRef.{{secretName,key}}",
            f"{_G}.scmProvider.bitbucket.{{allBranches,owner,user}}",
            f"{_G}.scmProvider.bitbucket.appPasswordRef.{{secretName,key}}",
            f"{_G}.scmProvider.bitbucketServer.{{allBranches,api,project,insecure}}",
            f"{_G}.scmProvider.bitbucketServer.basicAuth.username",
            f"{_G}.scmProvider.bitbucketServer.basicAuth.passwordRef.{{secretName,key}}",
            f"{_G}.scmProvider.bitbucketServer.bearerToken.tokenRef.{{secretName,key}}",
        ),
        *refused(
            "a plugin is a service of somebody else's, and none is asked: use the list or git generator",
            f"{_G}.plugin.configMapRef.name {_G}.plugin.{{requeueAfterSeconds,values}}",
            f"{_G}.plugin.input.parameters",
        ),
        *refused(
            "it names a resource of another controller: use the cluster generator",
            f"{_G}.clusterDecisionResource.{{configMapRef,name,requeueAfterSeconds,values}}",
            _selector(f"{_G}.clusterDecisionResource.labelSelector"),
        ),
    ),
    like=(
        ("spec.template.spec", "Application:spec"),
        *((f"{_G}.{name}.template", "spec.template") for name in
          ("list", "git", "clusters", "matrix", "merge", "pullRequest", "scmProvider", "plugin",
           "clusterDecisionResource")),
        (f"{_G}.matrix.generators[]", _G),
        (f"{_G}.merge.generators[]", _G),
    ),
)  # fmt: skip

KINDS = (APPLICATION, APPLICATION_SET, PROJECT)
