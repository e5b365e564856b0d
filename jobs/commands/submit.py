"""`undertow submit`: runs a study as a Ray job, through the cluster's Jobs API."""

import asyncio
import logging
import os
import shlex
import tempfile
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import tenacity
from ray.exceptions import AuthenticationError
from ray.job_submission import JobStatus, JobSubmissionClient
from rich.console import Console

from jobs.commands.baggage import pack
from jobs.job import Job
from pipeline.core.errors import InputError, ResourceError
from pipeline.core.sources import local_paths
from pipeline.models.judges.address import is_private

DASHBOARD = "http://127.0.0.1:8265"  # the default of `ray start`


def submit(
    console: Console,
    study: Job,
    file: Path,
    root: str,
    overrides: Sequence[str],
    address: str | None,
    *,
    until: str,
    smoke_test: bool,
    driver_cpus: float,
    wait: bool,
) -> bool:
    """Submit the study of a file. True if the job succeeded, or, without waiting, once the cluster has accepted it.

    until: the kind of step to stop after, or "". smoke_test: submit its smoke test instead. driver_cpus: with 0, the
    driver runs on the head, which is not taken away as a spot machine is.

    Raises InputError as `pack` does; ResourceError if there is no cluster.
    """
    url = address or os.environ.get("RAY_API_SERVER_ADDRESS") or DASHBOARD
    _warn_if_token_unencrypted(console, url)
    with tempfile.TemporaryDirectory(prefix="undertow-") as bag:
        packed = pack(console, file, local_paths(study), Path(bag))
        entrypoint = _entrypoint(packed, root, overrides, until=until, smoke_test=smoke_test)
        try:
            client = JobSubmissionClient(url)
            logging.getLogger("ray").setLevel(logging.ERROR)  # otherwise Ray names every file that is not sent
            job = _with_retries(
                client.submit_job,
                entrypoint=entrypoint,
                submission_id=f"{study.name}-{time.strftime('%Y%m%d-%H%M%S')}",
                metadata={"study": study.name, "root": root, "version": metadata.version("undertow")},
                runtime_env={"working_dir": bag},
                entrypoint_num_cpus=driver_cpus,
            )
        except AuthenticationError:
            raise ResourceError(
                f"the Ray cluster at {url} requires its token: put it into ~/.ray/auth_token or RAY_AUTH_TOKEN"
            ) from None
        except (ConnectionError, RuntimeError) as error:
            raise ResourceError(f"the Ray cluster at {url} did not accept the job: {error}") from None
    console.print(f"submitted {job} to {url}\n  stop it: ray job stop {job}", soft_wrap=True, highlight=False)
    return asyncio.run(_follow(client, job)) if wait else True


# A head that has just started has no agent yet to run the job.
_with_retries = tenacity.Retrying(
    retry=tenacity.retry_if_exception_message(match=r"(?s).*No available agent"),
    wait=tenacity.wait_random_exponential(max=10),
    stop=tenacity.stop_after_delay(60),
    reraise=True,
)


def _warn_if_token_unencrypted(console: Console, url: str) -> None:
    """Raises InputError if the URL is not a cluster's address."""
    try:
        unencrypted = _sends_token() and not is_private(url)
    except ValueError as error:
        raise InputError(f"{url} is no address of a cluster: {error}") from None
    if unencrypted:
        console.print(
            f"The cluster's token goes to {url} unencrypted. Whoever reads it can run anything there: use https, or a "
            f"tunnel (ssh -L 8265:127.0.0.1:8265 HEAD) and {DASHBOARD}.",
            style="yellow",
            soft_wrap=True,
        )


def _entrypoint(study: str, root: str, overrides: Sequence[str], *, until: str, smoke_test: bool) -> str:
    """The shell command of the job. study: path of the study file in the job's folder."""
    command = ["python", "-m", "jobs.run", study, "--root", _absolute(root)]
    for override in overrides:
        command += ["--set", override]
    if until:
        command += ["--until", until]
    if smoke_test:
        command.append("--smoke-test")
    return shlex.join(command)


def _sends_token() -> bool:
    """Have Ray's client send the cluster's token if this user has one; it does so in this mode only.

    A driver must not be in this mode unless its cluster is: it would reject the cluster's replies.
    """
    named = "RAY_AUTH_TOKEN" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ
    if named or (Path.home() / ".ray" / "auth_token").is_file():
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    return os.environ.get("RAY_AUTH_MODE") == "token"


async def _follow(client: JobSubmissionClient, job: str) -> bool:
    """Print the driver's output until the job has ended. True if it succeeded."""
    printed = 0
    while True:
        status = client.get_job_status(job)
        # Ray ends a tail early if the driver is not up yet or not on the head, and the next one starts from the top.
        seen = 0
        async for text in client.tail_job_logs(job):
            seen += len(text)
            if seen > printed:
                print(text[printed - seen :], end="", flush=True)
                printed = seen
        if status.is_terminal():
            break
        await asyncio.sleep(0.5)
    if status == JobStatus.FAILED and not printed:
        print(f"{job} failed: {client.get_job_info(job).message}", flush=True)
    return bool(status == JobStatus.SUCCEEDED)


def _absolute(root: str) -> str:
    """The root as an absolute path: the job's own folder, against which paths resolve, is removed with it."""
    return root if "://" in root else str(Path(root).absolute())
