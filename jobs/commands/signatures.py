"""The commands about signatures: keygen, attest, verify."""

from pathlib import Path
from typing import Annotated

import typer

from jobs.commands.places import ROOT_HELP, existing, located, names_artifact
from jobs.terminal import Terminal
from pipeline.core.errors import InputError

commands = typer.Typer()
console = Terminal()

KEY_HELP = "A PEM file, envvar:NAME (a variable that names it), or a URI such as awskms:…, gcpkms:…, hsm:… (PKCS#11)."
Public = Annotated[str | None, typer.Option(help="File of the public key, where --key is a URI.")]
Place = Annotated[str, typer.Argument(metavar="ROOT|ARTIFACT", help=f"{ROOT_HELP} Or one of them.")]


@commands.command()
def keygen(
    name: Annotated[str, typer.Argument(help="Name of the key, such as builder.")],
    out: Annotated[Path, typer.Option(help="Folder for the four files.")] = Path("keys"),
) -> None:
    """Make keys: NAME.pem to sign and NAME.pub to verify statements; NAME.weights.pem and .pub for weights."""
    from pipeline.provenance.attestation.keys import PRIVATE, generate

    for path in generate(name, out):
        use = "keep it secret" if path.suffix == PRIVATE else "give it to those who verify"
        console.print(f"{path}: {use}", highlight=False, soft_wrap=True)


@commands.command()
def attest(
    place: Place,
    key: Annotated[str, typer.Option(help=KEY_HELP)],
    public: Public = None,
) -> None:
    """Sign an artifact, or every finished one under a root, as it is now."""
    from jobs.commands.attest import attest as sign
    from pipeline.provenance.attestation.keys import load_signing_key

    signing_key = load_signing_key(key, public)
    store, path = located(place) if names_artifact(place) else (existing(place), None)
    sign(console, store, path, signing_key)


@commands.command()
def verify(
    place: Place = "runs",
    chain: Annotated[
        bool, typer.Option("--chain", help="Also verify the signatures of an artifact and of all it was made from.")
    ] = False,
    keys: Annotated[Path | None, typer.Option(help="Folder of public keys that you trust, NAME.pub.")] = None,
    policy: Annotated[Path | None, typer.Option(help="Which key may sign what, and what may be unsigned.")] = None,
    bundle: Annotated[
        Path | None, typer.Option(help="Statements on ancestors that are not here; see `undertow export`.")
    ] = None,
    summary: Annotated[Path | None, typer.Option(help="Write a verification summary (VSA) to this file.")] = None,
    key: Annotated[str | None, typer.Option(help=f"Sign the summary. {KEY_HELP}")] = None,
    public: Public = None,
) -> None:
    """Read everything under a root, or one artifact, and check it against its digests; with --chain, its signatures."""
    from jobs.commands import attest
    from jobs.commands.verify import show_verified
    from pipeline.provenance.attestation.keys import load_signing_key

    if not chain:
        if any((keys, policy, bundle, summary, key)):
            raise InputError("--keys, --policy, --bundle, --summary and --key need --chain")
        store, path = located(place) if names_artifact(place) else (existing(place), None)
        raise typer.Exit(0 if show_verified(console, store, path) else 1)
    if keys is None:
        raise InputError("--chain needs --keys, the folder of the public keys that you trust")
    if not names_artifact(place):
        raise InputError(f"--chain verifies one artifact, such as {place.rstrip('/')}/student/…")
    store, path = located(place)
    signer = load_signing_key(key, public) if key else None
    raise typer.Exit(0 if attest.verify(console, store, path, keys, policy, bundle, summary, signer) else 1)
