"""Collects what is sent with a submitted job: the program, the study, and the files it names. Nothing else."""

import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path

from rich.console import Console

from pipeline.core.errors import InputError
from pipeline.core.limits import MIB

PROGRAM = ("pipeline", "jobs")  # from a checkout; without one, the cluster runs its installed package
MOST_BYTES = 500 * MIB  # Ray accepts no larger package

# Names of files and folders that may hold keys, at any depth; compared in lower case.
SECRETS = (
    *(".env*", "*.env", "*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdbx", "*.ppk", "*.asc", "*.gpg"),
    *("id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", ".ssh", ".gnupg", ".aws", ".azure", ".gcloud", ".config"),
    *(".docker", ".kube", "kubeconfig*", "*.kubeconfig", ".netrc", "_netrc", ".git-credentials", ".pypirc", ".npmrc"),
    *(".pgpass", ".htpasswd", ".boto", ".s3cfg", ".vault-token", "auth_token", "credential*", "*credentials*"),
    *("secret*", "*secret.*", "*secrets.*", "service-account*", "service_account*", "*.tfstate*", "*.tfvars"),
)
USELESS = ("__pycache__", ".git", ".venv*")


def pack(console: Console, study: Path, named: Iterable[str], bag: Path) -> str:
    """Copy into `bag` everything that the job of a study file needs, list it, and return the study's path there.

    named: the local paths in the study. Relative ones are resolved in the job's folder, so they are sent; absolute ones
    must exist on every machine. Raises InputError if something lies outside the working directory, looks like a key, or
    is too large.
    """
    here = Path.cwd().resolve()
    wanted = [_below(study, here), *(_below(Path(name), here) for name in named if not Path(name).is_absolute())]
    for path in wanted:
        if _is_secret(path):
            raise InputError(
                f"{path} looks like a key or credentials by its name; these are never sent. If it is not, rename it"
            )
    files = {file for top in (*map(Path, PROGRAM), *wanted) for file in _files(top, here)}
    sizes = Counter({file: (here / file).stat().st_size for file in files})
    if sizes.total() > MOST_BYTES:
        (file, size), *_ = sizes.most_common(1)
        raise InputError(
            f"{sizes.total():,} bytes would be sent with the job, above Ray's limit of {MOST_BYTES:,}; the largest "
            f"is {file} ({size:,}). Put it where every machine can read it, and use its absolute path"
        )
    for file in files:
        (bag / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(here / file, bag / file)
    console.print(
        f"sending {len(files)} files, {sizes.total():,} bytes: {_listing(sizes)}", soft_wrap=True, highlight=False
    )
    return wanted[0].as_posix()


def _below(path: Path, here: Path) -> Path:
    """The path relative to `here`. A link keeps its own name, and must not lead out of `here`."""
    own = Path(os.path.relpath(path.parent.resolve() / path.name, here))
    if ".." in own.parts or not path.resolve().is_relative_to(here):
        raise InputError(
            f"{path} is not below the working directory {here}, and only files below it are sent: copy it here"
        )
    return own


def _files(top: Path, here: Path) -> Iterator[Path]:
    """The files at or below `top`, relative to `here`, without keys and without links that lead elsewhere."""
    path = here / top
    if not path.resolve().is_relative_to(here) or _is_secret(top) or _matches(top, USELESS):
        return
    if path.is_dir():
        for inner in sorted(path.iterdir()):
            if not (inner.is_symlink() and inner.is_dir()):
                yield from _files(top / inner.name, here)
    elif path.is_file() and not _is_secret(path.resolve().relative_to(here)):
        yield top


def _is_secret(path: Path) -> bool:
    return _matches(path, SECRETS)


def _matches(path: Path, patterns: Iterable[str]) -> bool:
    return any(fnmatch(part.lower(), pattern) for part in path.parts for pattern in patterns)


def _listing(sizes: Counter[Path]) -> str:
    """Files and bytes per top-level folder, the largest first."""
    bytes_, counts = Counter[str](), Counter[str]()
    for file, size in sizes.items():
        top = file.parts[0] + ("/" if len(file.parts) > 1 else "")
        bytes_[top] += size
        counts[top] += 1
    return ", ".join(f"{top} ({counts[top]}, {size:,})" for top, size in bytes_.most_common())
