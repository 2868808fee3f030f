"""tpu/gke.sh: the manifests that it makes, and what it asks of kubectl."""

import os
import subprocess

import pytest
import yaml
from cloud import ROOT, Cloud

from jaxreason.plan.slices import GENERATIONS, SLICES

COMMANDS = {
    "study": "jaxreason study --config configs/study_qwen3_14b.py:v5p-64",
    "rl": "jaxreason rl --config configs/rl_qwen3_14b.py:v5p-64",
}
PATH = os.environ["PATH"]
IMAGE = "REGION-docker.pkg.dev/PROJECT/REPOSITORY/jaxreason:tpu"
SHIPPED = {"TPU_IMAGE": IMAGE, "TPU_SLICE": "v5p-64", "TPU_SOURCE": "", "TPU_REVISION": ""}


@pytest.fixture
def cloud(tmp_path):
    return Cloud(tmp_path)


def printed(cloud, *words, **settings):
    result = cloud.run("gke.sh", "--dry-run", "apply", *words, **SHIPPED | settings)
    assert result.returncode == 0, result.stderr
    return result.stdout


def parts(text):
    """The manifest, its one replicated job, that job's pod and the pod's one container."""
    manifest = yaml.safe_load(text)
    (replicated,) = manifest["spec"]["replicatedJobs"]
    pod = replicated["template"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    return manifest, replicated, pod, container


@pytest.mark.parametrize("verb", COMMANDS)
def test_the_manifests_that_are_shipped_are_what_the_script_makes(cloud, verb):
    settings = {"TPU_NAME": verb, "TPU_WORKDIR": f"gs://BUCKET/runs/{verb}"}
    shipped = (ROOT / "tpu" / f"gke_{verb}.yaml").read_text()
    assert shipped == printed(cloud, COMMANDS[verb], **settings)


@pytest.mark.parametrize(
    "command",
    ["cd /x && jaxreason rl", "jaxreason sft; jaxreason eval", "jaxreason rl\njaxreason eval"],
)
def test_several_commands_of_which_a_pod_would_run_the_first_alone_are_refused(cloud, command):
    result = cloud.run("gke.sh", "apply", command, TPU_IMAGE="i")
    assert result.returncode == 2 and "a pod runs one command" in result.stderr
    assert not cloud.calls
    quoted = "jaxreason rl --config 'a;b' --config.report.title=\"x && y\""
    assert cloud.run("gke.sh", "apply", quoted, TPU_IMAGE="i").returncode == 0


def test_a_command_may_begin_with_variables_of_its_own(cloud, tmp_path):
    *_, container = parts(printed(cloud, "A='x y' B=2 jaxreason rl", TPU_WORKDIR="gs://BUCKET/r"))
    program = tmp_path / "jaxreason"
    program.write_text('#!/bin/sh\necho "$A" "$B" "$@"\n')
    program.chmod(0o755)
    command = [*container["command"], *container["args"]]
    found = subprocess.run(command, env={"PATH": f"{tmp_path}:{PATH}"}, capture_output=True)
    assert found.stdout == b"x y 2 rl --workdir gs://BUCKET/r\n", found.stderr


@pytest.mark.parametrize("verb", COMMANDS)
def test_a_manifest_asks_for_the_whole_slice_and_starts_all_again_but_a_refused_recipe(verb):
    manifest, replicated, pod, container = parts((ROOT / "tpu" / f"gke_{verb}.yaml").read_text())
    assert (manifest["apiVersion"], manifest["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    assert manifest["spec"]["failurePolicy"]["maxRestarts"] == 1000
    job = replicated["template"]["spec"]
    assert replicated["replicas"] == 1 and job["parallelism"] == job["completions"] == 8
    assert job["backoffLimit"] == 0 and pod["restartPolicy"] == "Never"
    (rule,) = job["podFailurePolicy"]["rules"]
    assert (rule["action"], rule["onExitCodes"]["values"]) == ("FailJob", [2])
    (refused,) = manifest["spec"]["failurePolicy"]["rules"]
    assert (refused["action"], refused["onJobFailureReasons"]) == (
        "FailJobSet",
        ["PodFailurePolicy"],
    )
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v5p-slice",
        "cloud.google.com/gke-tpu-topology": "2x4x4",
        "cloud.google.com/gke-spot": "true",
    }
    assert (
        container["resources"]["limits"]
        == container["resources"]["requests"]
        == {"google.com/tpu": 4}
    )
    assert container["args"] == [f"exec {COMMANDS[verb]} --workdir gs://BUCKET/runs/{verb}"]


@pytest.mark.parametrize("name", [n for n, s in SLICES.items() if s.kind.platform == "tpu"])
def test_topology_and_hosts_are_those_of_the_plan(name):
    text = (ROOT / "tpu" / "gke.sh").read_text()
    place = text[text.index("place() {") : text.index("manifest() {")]
    said = subprocess.run(
        ["bash", "-c", f"set -u; tpu_one() {{ echo {name}; }}; {place} place"],
        capture_output=True,
        text=True,
        check=True,
    )
    accelerator, topology, hosts, chips = said.stdout.split()
    slice_ = SLICES[name]
    assert topology == slice_.topology and int(hosts) * int(chips) == slice_.chips
    assert int(chips) == min(slice_.chips, 4)
    assert accelerator.startswith("tpu")
    assert slice_.generation in GENERATIONS


def test_several_slices_are_as_many_jobs_and_without_spot_no_spot_node_is_asked_for(cloud):
    _, replicated, pod, _ = parts(printed(cloud, "x", TPU_SLICE="3xv6e-16", TPU_SPOT="no"))
    assert replicated["replicas"] == 3 and replicated["template"]["spec"]["parallelism"] == 4
    assert "cloud.google.com/gke-spot" not in pod["nodeSelector"]
    assert pod["nodeSelector"]["cloud.google.com/gke-tpu-accelerator"] == "tpu-v6e-slice"


def test_quotes_and_spaces_reach_the_pod_as_they_are(cloud):
    workdir = 'gs://b/it\'s "here" \\ $(x)'
    *_, container = parts(printed(cloud, "printf %s", TPU_WORKDIR=workdir))
    said = subprocess.run(
        [*container["command"], *container["args"]], capture_output=True, text=True, check=True
    )
    assert said.stdout == f"--workdir{workdir}"


def test_the_manifest_goes_to_kubectl_and_no_secret_with_it(cloud):
    settings = SHIPPED | {"HF_TOKEN": "hf_secret"}
    assert cloud.run("gke.sh", "apply", "jaxreason rl", **settings).returncode == 0
    assert cloud.calls == [["kubectl", "apply", "-f", "-"]]
    sent = (cloud.folder / "kubectl.stdin").read_text()
    assert "hf_secret" not in sent
    assert parts(sent)[3]["envFrom"] == [
        {"secretRef": {"name": "jaxreason-secrets", "optional": True}}
    ]
    for verb, words in {
        "status": ["get", "jobset", "name"],
        "delete": ["delete", "jobset", "name", "--ignore-not-found"],
        "logs": ["logs", "-f"],
    }.items():
        assert cloud.run("gke.sh", verb).returncode == 0
        assert cloud.asked("kubectl", *words)


@pytest.mark.parametrize(
    ("verb", "message"),
    [("apply", "kubectl could not apply it"), ("delete", "name could not be deleted")],
)
def test_a_cluster_that_refuses_is_said_in_the_last_line(cloud, verb, message):
    cloud.fail("kubectl", "1 error: forbidden")
    result = cloud.run("gke.sh", verb, **SHIPPED)
    assert result.returncode == 1 and message in result.stderr.splitlines()[-1]
