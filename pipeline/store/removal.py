"""The only code in undertow that removes a study's files."""

import re
from datetime import datetime

from pipeline.core.errors import InputError
from pipeline.store import Store
from pipeline.store.root import require_marked
from pipeline.store.step import ID_LENGTH, KINDS

ARTIFACT = re.compile(rf"(?:{'|'.join(KINDS)})/[^/]+-[0-9a-f]{{{ID_LENGTH}}}")
FILE = re.compile(rf"{ARTIFACT.pattern}/.+", re.DOTALL)


def remove(store: Store, path: str, modified: datetime | None = None) -> bool:
    """Remove one file inside KIND/SLUG-ID/ of a marked root, following no link.

    False if nothing was removed: the file is gone already, is a link, or has another time than `modified`, its time
    in a listing. Raises InputError if the root has no marker or the path is not inside an artifact. The caller must
    know that nobody needs the file.
    """
    if not FILE.fullmatch(path):
        raise InputError(f"{path} is not inside an artifact (KIND/NAME-ID/); it is not removed")
    require_marked(store)
    return store.remove(path, modified)
