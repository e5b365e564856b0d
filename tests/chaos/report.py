"""`make chaos`: every harness in turn, and the counts of all of them side by side, for docs/reliability.md.

python -m tests.chaos.report
"""

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
    with tempfile.TemporaryDirectory(prefix="undertow-report-") as name:
        folder = Path(name)
        # The two servers' enumerations take a core each.
        crashes = [_start("crashes", folder, "--server", server) for server in SERVERS]
        ours = [_ended(process) for process in crashes]
        others = [_ended(_start("peer", folder)), _ended(_start("kills", folder)), _ended(_start("quickstart", folder))]
    peer, kills, quickstart = others
    for line in _table(dict(zip(SERVERS, ours, strict=True)), peer):
        print(line)
    print(f"\nkill loops: {sum(kills['killed'].values())} kills {kills['killed']}, {len(kills['wrong'])} wrong")
    print(f"quickstart on s3://: {quickstart['said']}")
    sys.exit(1 if any(found["wrong"] for found in (*ours, kills, quickstart)) else 0)


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
    out = folder / f"{harness}{''.join(arguments)}.json"
    return subprocess.Popen([sys.executable, "-m", f"tests.chaos.{harness}", "--out", str(out), *arguments]), out


def _ended(started: tuple[subprocess.Popen[bytes], Path]) -> Found:
    process, out = started
    process.wait()
    if not out.exists():
        sys.exit(f"{process.args} ended with {process.returncode} and wrote nothing")
    found: Found = json.loads(out.read_text())
    return found


if __name__ == "__main__":
    main()
