"""Formats that are shown and not run yet: what is seen of them."""

from trueup.core.model import Severity
from trueup.core.pipeline import RunStep
from trueup.drivers.formats import parse
from trueup.drivers.formats.scripts import doings

JENKINS = b"""\
// builds the app
pipeline {
    agent any
    environment { TAG = "app:${env.BUILD_ID}" }
    stages {
        stage('Build') {
            steps { sh 'docker build -t app:$BUILD_ID .' }
        }
        stage("Test") {
            when { branch 'main' }
            steps {
                sh '''
                    pip install -r requirements.txt
                    pytest
                '''
            }
        }
        stage('Deploy') {
            steps { sh(script: "kubectl apply -f config/", returnStdout: true) }
        }
    }
    post { always { echo 'done }' } }
}
"""
GITLAB = b"""\
stages: [build, test, deploy]
variables: {A: b}
.hidden: {script: [no]}
default:
  image: python:3.12
deploy-prod:
  stage: deploy
  script: [kubectl apply -f config/]
build-job:
  stage: build
  script:
    - docker build -t app .
    - docker push app
test-job:
  script: pytest
  needs: [build-job]
"""


def test_a_jenkinsfile_shows_its_stages_and_commands() -> None:
    parsed = parse("Jenkinsfile", JENKINS)
    assert parsed is not None and parsed.graph is not None
    assert not parsed.native
    assert [(job.id, job.needs, job.place.line) for job in parsed.graph.jobs] == [
        ("Build", (), 6),
        ("Test", ("Build",), 9),
        ("Deploy", ("Test",), 18),
    ]
    steps = [step.script for job in parsed.graph.jobs for step in job.steps if isinstance(step, RunStep)]
    assert [doing.role for step in steps for doing in doings(step)] == ["build", "test", "deploy"]
    assert [finding.severity for finding in parsed.findings] == [Severity.NOTE]


def test_a_gitlab_file_shows_its_jobs_by_stage() -> None:
    parsed = parse(".gitlab-ci.yml", GITLAB)
    assert parsed is not None and parsed.graph is not None
    assert not parsed.native
    assert [(job.id, job.environment, job.needs) for job in parsed.graph.jobs] == [
        ("build-job", "build", ()),
        ("test-job", "test", ("build-job",)),
        ("deploy-prod", "deploy", ("test-job", "build-job")),
    ]
    assert parsed.graph.jobs[0].steps[0].place.line == 12


def test_what_a_gitlab_file_includes_is_named() -> None:
    include = b"""include:
  - project: acme/ci
    file: [/a.yml, /b.yml]
  - local: ci/test.yml
    rules: [{if: $X}]
  - https://git.example/c.yml
"""
    parsed = parse(".gitlab-ci.yml", include + GITLAB)
    assert parsed is not None
    told = [(f.place.line, f.message.split(" are ")[0]) for f in parsed.findings if f.rule == "gitlab-include"]
    assert told == [
        (2, "the jobs of project acme/ci, file /a.yml /b.yml"),
        (4, "the jobs of local ci/test.yml"),
        (6, "the jobs of https://git.example/c.yml"),
    ]
    assert {f.severity for f in parsed.findings} == {Severity.NOTE}
    single = parse(".gitlab-ci.yml", b"include: ci/x.yml\nt: {script: [a]}\n")
    assert single is not None and "ci/x.yml" in single.findings[1].message


def test_hostile_files_are_named() -> None:
    parsed = parse(".gitlab-ci.yml", b"a: &a [*a]")
    assert parsed is not None and parsed.graph is None and parsed.findings
    groovy = parse("Jenkinsfile", b"stage('x') { stage(" * 2000)
    assert groovy is not None and not groovy.native


def test_commands_are_known_by_what_they_do() -> None:
    script = (
        "set -e\n# kubectl apply -f no\ncd app && pytest -q\ndocker build \\\n  -t x .\n"
        "helm upgrade --install a b; docker push x\n"
    )
    assert [(doing.role, doing.line) for doing in doings(script)] == [
        ("test", 2),
        ("build", 3),
        ("deploy", 5),
        ("push", 5),
    ]
