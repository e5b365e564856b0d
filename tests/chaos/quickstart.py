"""The whole quickstart on s3://, with the real engine and trainer, and every byte of it verified afterwards.

python -m tests.chaos.quickstart
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.servers import CREDENTIALS, make_bucket, s3_server

ROOT = "s3://studies/quickstart"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", default="configs/quickstart.yaml")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="undertow-quickstart-") as name:
        folder = Path(name)
        with s3_server("moto", folder / "server.log") as server:
            make_bucket(server, ROOT.removeprefix("s3://").split("/")[0])
            environment = os.environ | CREDENTIALS
            environment |= {"AWS_ENDPOINT_URL": server, "UNDERTOW_CACHE": str(folder / "cache")}
            commands = (["run", arguments.study, "--root", ROOT], ["verify", ROOT])
            ended = [
                subprocess.run(
                    [sys.executable, "-m", "jobs.cli", *command], env=environment, text=True, capture_output=True
                )
                for command in commands
            ]
    wrong = [f"undertow {' '.join(c)}: {e.stderr[-500:]}" for c, e in zip(commands, ended, strict=True) if e.returncode]
    said = ended[1].stdout.strip()
    print(ended[0].stdout, said, *wrong, f"{time.monotonic() - started:.0f} s", sep="\n")
    if arguments.out:
        arguments.out.write_text(json.dumps({"said": said, "wrong": wrong, "seconds": time.monotonic() - started}))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
