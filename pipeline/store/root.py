"""The marker of a root that belongs to undertow. Nothing is removed under a root without one."""

import json
import uuid

from pipeline.core.errors import InputError
from pipeline.store import Store

MARKER = "undertow-root.json"
VERSION = 1


def mark(store: Store) -> None:
    """Mark a root before a run writes to it; an existing marker stays as it is."""
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
