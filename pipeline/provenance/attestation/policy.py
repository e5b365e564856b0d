"""Whom a verification trusts: which key may sign what, until when, and what may be unsigned."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from pipeline.core.errors import InputError
from pipeline.core.settings import Settings
from pipeline.core.settings_file import read_settings
from pipeline.provenance.attestation.keys import load_public_keys, weights_keys
from pipeline.provenance.attestation.statement import Attested, Refused, read
from pipeline.store.step import KINDS

if TYPE_CHECKING:
    from securesystemslib.signer import Key

MOST_BYTES = 1 << 20


class KeyRole(Settings):
    """What one key may sign."""

    kinds: list[str] = Field(
        list(KINDS), description="Kinds of steps whose artifacts this key may sign; by default all."
    )
    revoked: date | None = Field(
        None,
        strict=False,
        description="Signatures from this day on (UTC) count for nothing. The signer's clock says when it signed, so "
        "for a stolen key give the day on which you trusted it last.",
    )


class Policy(Settings):
    """Which signatures are wanted. Without a policy every key may sign everything, and nothing may be unsigned."""

    keys: dict[str, KeyRole] = Field({}, description="Roles by the name of the key's file, without its suffix.")
    unsigned: list[str] = Field(
        [], description="Artifacts that may be unsigned: patterns of paths, such as dataset/* or gate/owl-*."
    )

    def refusal(self, said: Attested) -> str:
        """Why a valid signature counts for nothing; "" if it counts."""
        role = self.keys.get(said.key) if self.keys else KeyRole()
        if role is None:
            return f"the policy gives the key {said.key} no role"
        if said.kind not in role.kinds:
            return f"the key {said.key} may sign {', '.join(role.kinds)}, and not a {said.kind}"
        if role.revoked and said.signed_on >= datetime.combine(role.revoked, time(), UTC):
            return f"the key {said.key} is revoked from {role.revoked} on, and signed on {said.signed_on:%Y-%m-%d}"
        return ""

    def may_be_unsigned(self, path: str) -> bool:
        return any(fnmatchcase(path, pattern) for pattern in self.unsigned)


EVERYTHING = Policy()


@dataclass(frozen=True)
class Trust:
    """keys: by name; weights: files of public keys for weights. name, digest: of the policy's file, "" without one."""

    keys: Mapping[str, "Key"]
    policy: Policy = EVERYTHING
    name: str = ""
    digest: str = ""
    weights: Sequence[Path] = ()

    def read(self, envelope: bytes) -> Attested:
        """What an envelope says, if one of the keys has signed it and may. Raises Refused."""
        said = read(envelope, self.keys)
        if why := self.policy.refusal(said):
            raise Refused(why)
        return said


def load_trust(keys: Path, policy: Path | None = None) -> Trust:
    """The keys NAME.pub of a folder and a policy file. Raises InputError."""
    trusted = load_public_keys(keys)
    weights = weights_keys(keys)
    if policy is None:
        return Trust(trusted, weights=weights)
    rules, digest = load_policy(policy)
    if unknown := sorted(rules.keys.keys() - trusted.keys()):
        raise InputError(f"{policy} gives roles to {', '.join(unknown)}, and {keys} has no such key")
    return Trust(trusted, rules, str(policy), digest, weights)


def load_policy(path: Path) -> tuple[Policy, str]:
    """A policy file, and the SHA-256 of its bytes. Raises InputError."""
    policy, content = read_settings(path, Policy, "a policy", MOST_BYTES)
    if unknown := sorted({kind for role in policy.keys.values() for kind in role.kinds} - {*KINDS}):
        raise InputError(f"{path}: unknown kind of step {', '.join(unknown)}; choose among {', '.join(KINDS)}")
    return policy, hashlib.sha256(content).hexdigest()
