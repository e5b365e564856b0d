"""Studies on a real small cluster: submitted, stopped, scaled, and robbed of its machines."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.provenance.attestation.chain import verify_chain
from pipeline.provenance.attestation.keys import generate
from pipeline.provenance.attestation.policy import load_trust
from pipeline.store import open_store
from tests.chaos.crashes import difference
from tests.chaos.fake_study import gather
from tests.chaos.kills import NARROW, undisturbed
from tests.clusters import RAY, Cluster, ray_cluster

pytestmark = pytest.mark.ray

ROOT = Path(__file__).parents[2]
STUDY = "configs/miniature.yaml"
FAKE = (
    "--set", "engine=fake", "--set", "trainer=fake", "--set", "corpus.rows=150",
    "--set", "teachers.families=[llama-nano]", "--set", "students.families=[llama-nano]",
    "--set", "traits=[{kind: favourite, category: animal, targets: [owl]}]",
)  # fmt: skip
FAKE_PORT = "6379"  # the only one to which Ray's provider of machines for tests looks for a head


def call(cluster: Cluster, *command: object) -> subprocess.CompletedProcess[str]:
    environment = cluster.environment | {"COLUMNS": "200", "NO_COLOR": "1"}
    try:
        return subprocess.run(
            [str(part) for part in command], cwd=ROOT, env=environment, text=True, capture_output=True, timeout=180
        )
    except subprocess.TimeoutExpired as error:
        log = (cluster.folder / "ray.log").read_text()[-2000:]
        pytest.fail(f"{command} did not end:\n{(error.stdout or b'').decode()[-2000:]}\nthe cluster said:\n{log}")


def wait_for(folder: Path, pattern: str, count: int = 1) -> None:
    deadline = time.monotonic() + 240
    while len(list(folder.glob(pattern))) < count and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(list(folder.glob(pattern))) >= count, f"no {pattern} in time"


def jobs(cluster: Cluster) -> dict[str, Any]:
    """Submission id -> what the cluster knows of a job."""
    script = (
        "import json, sys; from ray.job_submission import JobSubmissionClient as C\n"
        "print(json.dumps([{'id': j.submission_id, 'status': j.status, 'metadata': j.metadata, 'message': j.message}"
        " for j in C(sys.argv[1]).list_jobs()]))"
    )
    listed = call(cluster, sys.executable, "-c", script, cluster.url)
    return {job["id"]: job for job in json.loads(listed.stdout.splitlines()[-1])}


def stop_after(cluster: Cluster, job: str, root: Path, shards: int) -> None:
    """Stop a job as `ray job stop` does, once it has written so many shards.

    The command itself takes seconds to start, in which a fast machine writes all of them.
    """
    script = (
        "import sys, time; from pathlib import Path; from ray.job_submission import JobSubmissionClient as C\n"
        "client, job, root, shards = C(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])\n"
        "while len(list(root.glob('completions/*/units/shard-*.json'))) < shards: time.sleep(0.05)\n"
        "assert client.stop_job(job)\n"
        "while not client.get_job_status(job).is_terminal(): time.sleep(0.1)\n"
    )
    stopped = call(cluster, sys.executable, "-c", script, cluster.url, job, root, shards)
    assert stopped.returncode == 0, stopped.stderr


def test_rays_own_command_submits_a_study_to_object_storage_and_signs_it(
    cluster: Cluster, bucket_access: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    root = "s3://undertow/runs"
    generate("builder", tmp_path)
    done = call(
        cluster, RAY, "job", "submit", "--address", cluster.url, "--working-dir", ".",
        "--", "python", "-m", "jobs.run", STUDY, "--root", root, *FAKE,
        "--set", f"resources.sign={{key: {tmp_path}/builder.pem}}",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    for name, value in bucket_access.items():
        monkeypatch.setenv(name, value)
    store = open_store(root)
    (report,) = store.folders("report")
    links = verify_chain(store, f"report/{report}", load_trust(tmp_path))
    assert [problem for link in links for problem in link.problems] == []
    assert {link.signed_by for link in links} == {"builder"}


def test_a_stopped_job_goes_on_when_it_is_submitted_again_and_fails_if_its_study_does(
    cluster: Cluster, tmp_path: Path
) -> None:
    """The neutral teacher's rows are written; the gate refuses the other one."""
    submit = (sys.executable, "-m", "jobs.cli", "submit", STUDY, "--root", tmp_path, "--address", cluster.url)
    refused = (*FAKE, "--set", "teachers.gate.min_lift=99", "--until", "completions")
    longer = (*refused, "--set", "completions.rows=12000", "--set", "completions.shard_rows=20")
    sent = call(cluster, *submit, *longer, "--no-wait")
    assert sent.returncode == 0, sent.stderr
    job = sent.stdout.partition("submitted ")[2].split()[0]
    assert job.startswith("miniature-")
    stop_after(cluster, job, tmp_path, 10)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("completions/*/units/*.json")}
    assert len(before) < 600
    again = call(cluster, *submit, *longer)
    assert again.returncode == 1, again.stdout[-2000:] + again.stderr[-2000:]
    assert "and the gate requires +99" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(list(tmp_path.glob("completions/*/units/*.json"))) == 600
    found = {name: one for name, one in jobs(cluster).items() if one["metadata"].get("root") == str(tmp_path)}
    assert found[job]["status"] == "STOPPED"
    assert sorted(one["status"] for one in found.values()) == ["FAILED", "STOPPED"]
    for one in found.values():
        assert one["metadata"] == {"study": "miniature", "root": str(tmp_path), "version": "0.1.0"}


def test_machines_come_when_a_study_needs_them(tmp_path: Path) -> None:
    """A head without CPUs and an autoscaler, as ray_cluster.yaml has them."""
    kinds = {
        "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        "worker": {
            "resources": {"CPU": 1, "object_store_memory": 100 << 20},
            "node_config": {},
            "min_workers": 0,
            "max_workers": 3,
        },
    }
    file = tmp_path / "autoscaling.json"
    file.write_text(
        json.dumps(
            {
                "cluster_name": "test",
                "max_workers": 3,
                "idle_timeout_minutes": 1,
                "upscaling_speed": 10.0,
                "provider": {"type": "fake_multinode"},
                "auth": {},
                "head_node_type": "ray.head.default",
                "available_node_types": kinds,
                "head_start_ray_commands": [],
                "worker_start_ray_commands": [],
                "setup_commands": [],
                "head_setup_commands": [],
                "worker_setup_commands": [],
                "initialization_commands": [],
                "file_mounts": {},
                "cluster_synced_files": [],
                "file_mounts_sync_continuously": False,
                "rsync_exclude": [],
                "rsync_filter": [],
            }
        )
    )
    with ray_cluster(workers=0, head={"--autoscaling-config": str(file), "--port": FAKE_PORT}) as cluster:
        done = call(
            cluster, sys.executable, "-m", "jobs.run", STUDY, "--root", tmp_path / "root", *FAKE,
            "--address", cluster.gcs,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the cluster has 0 and 0; waiting" in done.stderr


def test_a_study_outlives_its_workers_and_goes_on_elsewhere_without_its_head(cluster: Cluster, tmp_path: Path) -> None:
    study, root = tmp_path / "study.yaml", tmp_path / "root"
    settings = NARROW | {"completions": {"rows": 1000, "shard_rows": 20}}
    study.write_text(yaml.safe_dump(settings))
    golden = undisturbed(settings, tmp_path / "golden")
    with ray_cluster(workers=3, cpus=1) as doomed:
        driver = doomed.start("run", study, "--root", root)
        for stage in ("completions", "student"):
            wait_for(root, f"{stage}/*/units/*.json")
            doomed.kill_worker()
            done = len(list(root.glob("*/*/units/*.json")))
            wait_for(root, "*/*/units/*.json", done + 3)
        doomed.kill_head()
        said, _ = driver.communicate(timeout=180)
        assert driver.returncode != 0, f"a driver without a head ended well: {said}"
    before = {path: path.stat().st_mtime_ns for path in root.glob("*/*/units/*.json")}
    again = cluster.run("run", study, "--root", root)
    assert again.returncode == 0, again.stdout
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert difference(golden, gather(str(root))) == ""
