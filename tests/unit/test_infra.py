"""What is shipped for clusters: it parses, and it names the versions, images and files that there are."""

import json
import os
import re
import shutil
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
POLICY = ROOT / "infra" / "kuberay" / "network-policy.yaml"
KUBERAY = sorted(set((ROOT / "infra" / "kuberay").glob("*.yaml")) - {POLICY})
DOCKERFILES = sorted((ROOT / "infra" / "images").glob("*.Dockerfile"))
LOCKS = sorted((ROOT / "requirements").glob("*.lock"))
CLUSTER: dict[str, Any] = yaml.safe_load((ROOT / "ray_cluster.yaml").read_text())


def pods(node: object) -> list[dict[str, Any]]:
    """Every pod specification anywhere in a manifest."""
    found = []
    if isinstance(node, dict):
        found = [node] if "containers" in node else [pod for value in node.values() for pod in pods(value)]
    elif isinstance(node, list):
        found = [pod for value in node for pod in pods(value)]
    return found


def ray_versions(node: object) -> list[str]:
    if isinstance(node, dict):
        return [v for k, v in node.items() if k == "rayVersion"] + [v for n in node.values() for v in ray_versions(n)]
    return [version for value in node for version in ray_versions(value)] if isinstance(node, list) else []


def test_the_cluster_file_holds_under_rays_own_schema() -> None:
    schema = metadata.distribution("ray").locate_file("ray/autoscaler/ray-schema.json")
    jsonschema.validate(CLUSTER, json.loads(Path(str(schema)).read_text()))


def test_workers_come_and_go_and_a_second_kind_is_spot() -> None:
    head, gpu, spot = (CLUSTER["available_node_types"][name] for name in ("head", "gpu", "gpu-spot"))
    assert CLUSTER["head_node_type"] == "head"
    assert "InstanceMarketOptions" not in head["node_config"] | gpu["node_config"]
    assert spot["node_config"]["InstanceMarketOptions"]["MarketType"] == "spot"
    assert gpu["min_workers"] == spot["min_workers"] == 0
    assert gpu["max_workers"] + spot["max_workers"] <= CLUSTER["max_workers"]
    assert CLUSTER["idle_timeout_minutes"] > 0


def test_it_installs_the_locked_gpu_extra_and_files_that_exist() -> None:
    commands = " ".join(CLUSTER["setup_commands"])
    named = re.findall(r"requirements/\S+", commands)
    assert named == ["requirements/gpu.lock"]
    assert (ROOT / named[0]).is_file()


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_no_lock_carries_what_slows_every_process_of_ray_down(path: Path) -> None:
    """Ray imports jsonschema, which imports this where it is installed and builds a parser: 1.2 s a process."""
    assert "\nrfc3987-syntax==" not in path.read_text()


@pytest.mark.parametrize("path", KUBERAY, ids=lambda path: path.name)
def test_kubernetes_manifests_are_safe_and_name_our_versions(path: Path) -> None:
    manifest = yaml.safe_load(path.read_text())
    assert manifest["apiVersion"] == "ray.io/v1"
    (pinned,) = {re.search(r"==(\S+)", line)[1] for line in PROJECT["optional-dependencies"]["cpu"] if "ray[" in line}
    assert set(ray_versions(manifest)) == {pinned}
    assert len(pods(manifest)) == {"RayCluster": 2, "RayJob": 3}[manifest["kind"]]
    for pod in pods(manifest):
        assert pod["securityContext"]["runAsNonRoot"]
        (container,) = pod["containers"]
        tag, kind = container["image"].removeprefix("undertow:").rsplit("-", 1)
        assert tag == PROJECT["version"]
        assert (ROOT / "infra" / "images" / f"{kind}.Dockerfile").is_file()
        assert container["resources"]["requests"].keys() == container["resources"]["limits"].keys() >= {"cpu", "memory"}
        probes = ("readinessProbe", "livenessProbe") if container["name"] == "ray" else ()
        for probe in probes:  # paths that Ray answers without a token
            assert container[probe]["httpGet"]["path"] in ("/api/gcs_healthz", "/api/local_raylet_healthz")
        variables = {entry["name"]: entry for entry in container["env"]}
        assert variables["RAY_AUTH_MODE"]["value"] == "token"
        assert "secretKeyRef" in variables["RAY_AUTH_TOKEN"]["valueFrom"]


@pytest.mark.parametrize("path", KUBERAY, ids=lambda path: path.name)
def test_pods_can_do_no_more_than_they_must(path: Path) -> None:
    manifest = yaml.safe_load(path.read_text())
    for pod in pods(manifest):
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        (container,) = pod["containers"]
        confined = container["securityContext"]
        assert confined["allowPrivilegeEscalation"] is False
        assert confined["readOnlyRootFilesystem"] is True
        assert confined["capabilities"] == {"drop": ["ALL"]}
        written = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert {"/tmp", "/scratch"} <= set(written.values())  # where Ray, compilers and caches write
        assert set(written) == {volume["name"] for volume in pod["volumes"]}
        assert {"name": "HOME", "value": "/scratch"} in container["env"]
    asks_kubernetes = [pod["automountServiceAccountToken"] for pod in pods(manifest)]
    autoscaled = manifest["spec"].get("enableInTreeAutoscaling", False)
    assert asks_kubernetes.count(True) == (1 if autoscaled else 0)  # the head's, for its autoscaler
    if autoscaled:
        assert manifest["spec"]["headGroupSpec"]["template"]["spec"]["automountServiceAccountToken"]
        assert manifest["spec"]["autoscalerOptions"]["securityContext"]["allowPrivilegeEscalation"] is False


def test_the_pod_that_submits_a_job_has_the_token_and_reaches_the_head() -> None:
    spec = yaml.safe_load((ROOT / "infra" / "kuberay" / "smoke-test.yaml").read_text())["spec"]
    submitter = spec["submitterPodTemplate"]
    (container,) = submitter["spec"]["containers"]
    variables = {entry["name"]: entry for entry in container["env"]}
    assert variables["RAY_AUTH_TOKEN"]["valueFrom"]["secretKeyRef"]["name"] == "undertow-token"
    assert "envFrom" not in container  # it needs no bucket
    assert submitter["spec"]["restartPolicy"] == "Never"
    _, others = yaml.safe_load(POLICY.read_text())["spec"]["ingress"]
    assert {"podSelector": {"matchLabels": submitter["metadata"]["labels"]}} in others["from"]
    assert others["ports"] == [{"protocol": "TCP", "port": 8265}]


def test_the_network_policy_covers_rays_pods_both_ways_and_not_the_metadata_service() -> None:
    policy = yaml.safe_load(POLICY.read_text())
    assert (policy["apiVersion"], policy["kind"]) == ("networking.k8s.io/v1", "NetworkPolicy")
    assert policy["spec"]["podSelector"] == {"matchLabels": {"ray.io/is-ray-node": "yes"}}
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    for rule in policy["spec"]["ingress"]:
        assert all("podSelector" in source for source in rule["from"])
    blocks = [to["ipBlock"] for rule in policy["spec"]["egress"] for to in rule["to"] if "ipBlock" in to]
    assert [block["except"] for block in blocks] == [["169.254.0.0/16"]]


def test_no_machine_is_reached_by_ssh_from_everywhere() -> None:
    """Ray makes a group that is open to the world for each kind of machine that names none, whatever else is said."""
    for kind in CLUSTER["available_node_types"].values():
        assert kind["node_config"]["SecurityGroupIds"] == ["sg-REPLACE"]
        assert kind["node_config"]["MetadataOptions"] == {"HttpTokens": "required"}
    assert "0.0.0.0/0" not in (ROOT / "ray_cluster.yaml").read_text()


def test_keys_are_not_copied_to_the_cluster() -> None:
    assert {".git", ".env*", "*.pem", "*.key", ".aws", ".ssh", "credential*"} <= set(CLUSTER["rsync_exclude"])


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_images_install_their_lock_and_run_as_a_plain_user_with_tokens_on(path: Path) -> None:
    text = path.read_text()
    kind = path.name.removesuffix(".Dockerfile")
    assert f"--tag undertow:{PROJECT['version']}-{kind} " in text
    assert f"--requirement requirements/{kind}.lock" in text
    assert (ROOT / "requirements" / f"{kind}.lock").is_file()
    assert re.search(r"^USER ray$", text, re.MULTILINE)
    assert "RAY_AUTH_MODE=token" in text


def logical_lines(path: Path) -> list[str]:
    """Without the backslashes that continue a line."""
    return path.read_text().replace("\\\n", " ").splitlines()


def locked(path: Path) -> dict[str, str]:
    """The line of each requirement of a lock file, by its name."""
    return {line.split("==")[0]: line for line in logical_lines(path) if line and not line.startswith("--")}


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_every_locked_requirement_has_its_hashes_and_nothing_of_the_machine_that_locked_it(path: Path) -> None:
    assert locked(path)
    for line in locked(path).values():
        assert re.fullmatch(r"[\w.-]+==[\w.]+( +--hash=sha256:[0-9a-f]{64})+", line), line
    options = {line.split()[0] for line in logical_lines(path) if line.startswith("--")}
    assert options <= {"--only-binary", "--no-binary"}


def test_locks_are_installed_with_their_hashes_everywhere() -> None:
    files = (ROOT / "Makefile", ROOT / "ray_cluster.yaml", *DOCKERFILES)
    installs = [
        line for path in files for line in logical_lines(path) if re.search(r"pip install .*--requirement", line)
    ]
    for line in installs:
        assert "--require-hashes" in line, line
    assert {name for line in installs for name in re.findall(r"--requirement requirements/(\S+)", line)} == {
        path.name for path in LOCKS
    }
    assert {path.stem for path in LOCKS} == {"cpu", "gpu", "s3-servers"}


def test_the_cpu_lock_suits_either_build_of_torch() -> None:
    """A machine without the CPU build gets the other one, which wants a triton of its own."""
    cpu, gpu = (locked(ROOT / "requirements" / f"{kind}.lock") for kind in ("cpu", "gpu"))
    assert cpu["triton"] == gpu["triton"]
    assert set(gpu["torch"].split()) < set(cpu["torch"].split())


def test_every_image_cluster_and_job_has_a_target_in_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for path in (*DOCKERFILES, *KUBERAY, POLICY, ROOT / "ray_cluster.yaml"):
        assert str(path.relative_to(ROOT)) in makefile
    assert set(re.findall(r"--tag undertow:(\S+?)-", makefile)) == {PROJECT["version"]}


def test_manifests_of_jobs_run_studies_that_are_shipped() -> None:
    job = yaml.safe_load((ROOT / "infra" / "kuberay" / "smoke-test.yaml").read_text())
    study = re.search(r"jobs\.run (\S+)", job["spec"]["entrypoint"])
    assert study
    assert (ROOT / study[1]).is_file()


def test_cleaning_removes_what_setup_made_and_never_results(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    made, kept = (
        (".venv/bin/python", ".mypy_cache/x"),
        ("runs/student/x/manifest.json", "elsewhere/shared/manifest.json"),
    )
    for name in (*made, *kept):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    shared = str(tmp_path / "elsewhere/shared")
    environment = os.environ | {"ROOT": shared, "VENV": shared}
    for command in (["make", "clean"], ["make", "clean", f"ROOT={shared}"], ["make", "clean", f"VENV={shared}"]):
        subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert {path.name for path in tmp_path.iterdir()} == {"Makefile", "runs", "elsewhere"}
    assert all((tmp_path / name).is_file() for name in kept)


def test_the_cluster_that_ray_up_starts_asks_for_a_token() -> None:
    assert any("RAY_AUTH_MODE=token" in line and ">> ~/.profile" in line for line in CLUSTER["setup_commands"])
    for kind in ("head", "worker"):
        commands = [line.strip() for line in CLUSTER[f"{kind}_start_ray_commands"]]
        assert commands
        assert all(line.startswith(". ~/.profile && ") for line in commands)
