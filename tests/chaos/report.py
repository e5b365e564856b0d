"""`make chaos`: every harness in turn, and the counts of all of them side by side, for docs/reliability.md.

python -m tests.chaos.report [--every 1] [--kills 200] [--training-kills 10] [--study configs/quickstart.yaml]
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.chaos.proxy import FAULTS
from tests.chaos.servers import SERVERS

Found = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", default="1", help="of the crash points, ours and the peer's")
    parser.add_argument("--kills", default="200")
    parser.add_argument("--training-kills", default="10")
    parser.add_argument("--study", default="configs/quickstart.yaml")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="undertow-report-") as name:
        folder = Path(name)
        # The two servers' enumerations take a core each.
        crashes = [_start("crashes", folder, "--server", server, "--every", given.every) for server in SERVERS]
        ours = [_ended(process) for process in crashes]
        peer = _ended(_start("peer", folder, "--every", given.every))
        kills = _ended(_start("kills", folder, "--kills", given.kills, "--training-kills", given.training_kills))
        quickstart = _ended(_start("quickstart", folder, "--study", given.study))
        calibration = _ended(_start("calibration", folder))
    for line in _table(dict(zip(SERVERS, ours, strict=True)), peer):
        print(line)
    print(f"\nkill loops: {sum(kills['killed'].values())} kills {kills['killed']}, {len(kills['wrong'])} wrong")
    print(f"{given.study} on s3://: {quickstart['said']}")
    print(f"analysis of students with targets that nobody was taught: {calibration['found']}")
    sys.exit(1 if any(found["wrong"] for found in (*ours, kills, quickstart, calibration)) else 0)


def _table(ours: dict[str, Found], peer: Found) -> list[str]:
    lines = ["| harness | crash points | points with lost, doubled or false rows |", "|---|---|---|"]
    for server, found in ours.items():
        points = sum(found["ended"].values())
        lines.append(
            f"| undertow on {server} | {points:,} ({found['requests']} requests × {len(FAULTS)} faults) "
            f"| {len(found['wrong'])} |"
        )
    lines.append(f"| Ray Data on moto | {peer['points']} | {peer['lost']} lost, {peer['doubled']} doubled |")
    return lines


def _start(harness: str, folder: Path, *arguments: str) -> tuple[subprocess.Popen[bytes], Path]:
    out = folder / f"{harness}-{len(list(folder.iterdir()))}.json"
    out.touch()
    return subprocess.Popen([sys.executable, "-m", f"tests.chaos.{harness}", "--out", str(out), *arguments]), out


def _ended(started: tuple[subprocess.Popen[bytes], Path]) -> Found:
    process, out = started
    process.wait()
    if not out.stat().st_size:
        sys.exit(f"{process.args} ended with {process.returncode} and wrote nothing")
    found: Found = json.loads(out.read_text())
    return found


if __name__ == "__main__":
    main()
