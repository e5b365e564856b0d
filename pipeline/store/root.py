"""The marker by which undertow knows a root as its own. Where there is none, nothing is removed."""

import json
import uuid

from pipeline.core.errors import InputError
from pipeline.store import Store

MARKER = "undertow-root.json"
VERSION = 1


def mark(store: Store) -> None:
    """Mark a root that a run is about to write to; one that is marked stays as it is."""
    if not store.exists(MARKER):
        store.create(MARKER, json.dumps({"undertow_root": VERSION, "id": uuid.uuid4().hex}).encode())


def require_marked(store: Store) -> None:
    """Raise InputError unless undertow has marked the root."""
    try:
        marker = json.loads(store.read(MARKER))
        marked = isinstance(marker, dict) and marker.get("undertow_root") == VERSION
    except FileNotFoundError:
        raise InputError(
            f"{store.root} is not marked as a root of undertow: it has no {MARKER}, so nothing is removed there. If it "
            "is one of an earlier version, run one of its studies again (`undertow run STUDY --root …`); that marks it."
        ) from None
    except (ValueError, RecursionError, IsADirectoryError):
        marked = False
    if not marked:
        raise InputError(f"{store.root}/{MARKER} is not one that this version of undertow wrote; nothing is removed")
