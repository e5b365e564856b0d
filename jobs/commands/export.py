"""`undertow export`: writes what is known of an artifact in another format."""

import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.text import Text

from jobs.commands import attest
from jobs.commands.places import located
from jobs.terminal import Terminal
from pipeline.core.errors import InputError
from pipeline.provenance.attestation.chain import verify_chain
from pipeline.provenance.attestation.policy import Trust
from pipeline.provenance.attestation.summary import summary_of
from pipeline.provenance.exports import FORMATS
from pipeline.provenance.exports.subject import collect
from pipeline.provenance.manifests import read_ancestors
from pipeline.stages import lineage_of
from pipeline.store import Store, artifact

ATTESTATIONS, SUMMARY = "attestations", "vsa"  # formats of signatures, which are read from the store
NAMES = sorted((*FORMATS, ATTESTATIONS, SUMMARY))


def write(console: Console, target: str, to: str, out: Path | None, trust: Trust | None) -> None:
    """Export an artifact such as runs/student/….

    out: a file or folder; None to print the text. trust: whose signatures count, for `vsa`. Raises InputError.
    """
    store, path = located(target)
    files = _files(store, path, to, trust)
    if out is None:
        sys.stdout.write(next(iter(files.values())))
        return
    for place, text in _places(store, files, out).items():
        _save(place, text)
        console.print(f"{place}", highlight=False, soft_wrap=True)


def _files(store: Store, path: str, to: str, trust: Trust | None) -> dict[str, str]:
    """Name of each file -> its text."""
    if to == ATTESTATIONS:
        return {"chain.jsonl": attest.bundle_of(store, path).decode()}
    if to == SUMMARY:
        if trust is None:
            raise InputError(f"--to {SUMMARY} needs --keys, the folder of the public keys that you trust")
        return {
            "vsa.json": json.dumps(summary_of(verify_chain(store, path, trust), trust, datetime.now(UTC)), indent=1)
        }
    if to not in FORMATS:
        raise InputError(f"--to {to}: there is no such format; choose one of {', '.join(NAMES)}")
    subject = collect(store, artifact.require(store, path), read_ancestors(store, path, lineage_of))
    for problem in subject.problems:
        Terminal(stderr=True).print(Text(f"! {problem}", "yellow"), soft_wrap=True)
    return FORMATS[to](subject)


def _places(store: Store, files: Mapping[str, str], out: Path) -> dict[Path, str]:
    """Where each text goes. Raises InputError if that is in the root, where every file belongs to an artifact."""
    if store.folder is not None and out.resolve().is_relative_to(store.folder.resolve()):
        raise InputError(
            f"--out {out} lies in the root {store.root}, in which `undertow verify` checks every file: name a place "
            "outside of it"
        )
    is_file = len(files) == 1 and not out.is_dir()
    return {out if is_file else out / name: text for name, text in files.items()}


def _save(place: Path, text: str) -> None:
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write {place}: {error.strerror}") from None
