"""What signs the artifacts of a run."""

from collections.abc import Sequence

from pipeline.provenance.attestation.keys import load_signing_key
from pipeline.provenance.attestation.signing import Attestor
from pipeline.stages import lineage_of
from pipeline.store import Store, artifact, parallel_map
from pipeline.study.plannable import Plannable


def attestor_of(study: Plannable) -> Attestor | None:
    """What signs the artifacts of a run, if the study asks for it. Raises InputError if the key is unusable."""
    sign = study.resources.sign
    return Attestor(load_signing_key(sign.key, sign.public), lineage_of, "run") if sign else None


def unsigned(store: Store, attestor: Attestor, paths: Sequence[str]) -> list[str]:
    """The artifacts that carry no signature of this key."""
    signed = parallel_map(lambda path: attestor.has_signed(store, artifact.require(store, path)), paths)
    return [path for path, is_signed in zip(paths, signed, strict=True) if not is_signed]
