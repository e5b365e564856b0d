"""`undertow verify`: prints problems and totals."""

from rich.console import Console
from rich.text import Text

from pipeline.core.errors import visible
from pipeline.store import Store
from pipeline.store.verify import verify, verify_artifact


def show_verified(console: Console, store: Store, path: str | None = None) -> bool:
    """Print one line per problem, then the totals. Returns whether there were no problems.

    path: of the artifact to check, by default all under the root.
    """
    finished = unfinished = files = size = leftover = problems = 0
    for found in [verify_artifact(store, path)] if path else verify(store):
        finished += found.finished
        unfinished += not found.finished
        files += found.files
        size += found.bytes
        leftover += found.leftover
        problems += len(found.problems)
        for problem in found.problems:
            console.print(Text(visible(problem).replace("\n", r"\n"), "red"), soft_wrap=True)
    console.print(
        f"{finished} artifacts and {unfinished} unfinished ones: {files:,} files, {size:,} bytes read; "
        f"{f'{problems} problems' if problems else 'no problems'}",
        soft_wrap=True,
        highlight=False,
    )
    if leftover:
        console.print(
            f"{leftover:,} more files are left over from attempts; `undertow gc` removes them", highlight=False
        )
    return not problems
