"""Ray's token authentication, which is on in every cluster that `ray start` makes."""

import os
from pathlib import Path


def present() -> None:
    """Have Ray show the cluster's token where this user has one; must be called before Ray is imported.

    Ray looks for it in RAY_AUTH_TOKEN, the file RAY_AUTH_TOKEN_PATH, and ~/.ray/auth_token, but only in this mode.
    """
    named = "RAY_AUTH_TOKEN" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ
    if named or (Path.home() / ".ray" / "auth_token").is_file():
        os.environ.setdefault("RAY_AUTH_MODE", "token")
