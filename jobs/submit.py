"""`undertow submit`: a study as a Ray job, by the cluster's Jobs API."""

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

from jobs.baggage import pack
from pipeline.core.errors import InputError, ResourceError
from pipeline.core.sources import local_paths
from pipeline.judges.address import is_private
from pipeline.study.schema import Study

DASHBOARD = "http://127.0.0.1:8265"  # where `ray start` listens unless it is told otherwise


def submit(
    console: Console,
    study: Study,
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
    """Submit the study of a file; whether it succeeded, or, without waiting, whether it was taken.

    until: the kind of step to stop after, or "". smoke_test: submit its smoke test instead. driver_cpus: of 0 the driver
    goes to the head, which is not taken away as a spot machine is.

    Raises InputError as `pack` does; ResourceError where there is no cluster.
    """
    url = address or os.environ.get("RAY_API_SERVER_ADDRESS") or DASHBOARD
    try:
        in_the_open = _shows_token() and not is_private(url)
    except ValueError as error:
        raise InputError(f"{url} is no address of a cluster: {error}") from None
    if in_the_open:
        console.print(
            f"The cluster's token goes to {url} unencrypted. Whoever reads it can run anything there: use https, or a "
            f"tunnel (ssh -L 8265:127.0.0.1:8265 HEAD) and {DASHBOARD}.",
            style="yellow",
            soft_wrap=True,
        )
    with tempfile.TemporaryDirectory(prefix="undertow-") as bag:
        packed = pack(console, file, local_paths(study), Path(bag))
        entrypoint = shlex.join(["python", "-m", "jobs.run", packed, "--root", _lasting(root)])
        entrypoint += "".join(f" --set {shlex.quote(override)}" for override in overrides)
        entrypoint += f" --until {until}" if until else ""
        entrypoint += " --smoke-test" if smoke_test else ""
        try:
            client = JobSubmissionClient(url)
            logging.getLogger("ray").setLevel(logging.ERROR)  # it would name every file that does not travel
            job = _with_retries(
                client.submit_job,
                entrypoint=entrypoint,
                submission_id=f"{study.study}-{time.strftime('%Y%m%d-%H%M%S')}",
                metadata={"study": study.study, "root": root, "version": metadata.version("undertow")},
                runtime_env={"working_dir": bag},
                entrypoint_num_cpus=driver_cpus,
            )
        except AuthenticationError:
            raise ResourceError(
                f"the Ray cluster at {url} wants its token: put it into ~/.ray/auth_token or RAY_AUTH_TOKEN"
            ) from None
        except (ConnectionError, RuntimeError) as error:
            raise ResourceError(f"the Ray cluster at {url} did not take the job: {error}") from None
    console.print(f"submitted {job} to {url}\n  stop it: ray job stop {job}", soft_wrap=True, highlight=False)
    return asyncio.run(_follow(client, job)) if wait else True


# A head that is just up has no agent yet to give the job to.
_with_retries = tenacity.Retrying(
    retry=tenacity.retry_if_exception_message(match=r"(?s).*No available agent"),
    wait=tenacity.wait_random_exponential(max=10),
    stop=tenacity.stop_after_delay(60),
    reraise=True,
)


def _shows_token() -> bool:
    """Have Ray's client show the cluster's token where this user has one, which it does in this mode only.

    A driver must not be put into this mode unless its cluster is: it would refuse what the cluster tells it.
    """
    named = "RAY_AUTH_TOKEN" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ
    if named or (Path.home() / ".ray" / "auth_token").is_file():
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    return os.environ.get("RAY_AUTH_MODE") == "token"


async def _follow(client: JobSubmissionClient, job: str) -> bool:
    """Print what the driver says until the job has ended; whether it succeeded."""
    said = 0
    while True:
        status = client.get_job_status(job)
        # Ray ends a tail early when the driver is not up yet or not on the head, and begins anew the next time.
        seen = 0
        async for text in client.tail_job_logs(job):
            seen += len(text)
            if seen > said:
                print(text[said - seen :], end="", flush=True)
                said = seen
        if status.is_terminal():
            break
        await asyncio.sleep(0.5)
    if status == JobStatus.FAILED and not said:
        print(f"{job} failed: {client.get_job_info(job).message}", flush=True)
    return bool(status == JobStatus.SUCCEEDED)


def _lasting(root: str) -> str:
    """A job's own folder goes with it, so a folder has to be named in full."""
    return root if "://" in root else str(Path(root).absolute())
