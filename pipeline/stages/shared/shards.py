"""The shards of a teacher's completions: how many are begun, and when there are enough or can never be."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence

from pipeline.core.errors import Stopped
from pipeline.stages.shared.acceptance import Amount, Estimate, Seen, estimate, is_enough, wanted_shards
from pipeline.store.artifact import Json


async def generate(
    name: str,
    amount: Amount,
    needs: Collection[int],
    names: Sequence[str],
    write: Callable[[str], Awaitable[Json]],
    count: Callable[[list[Json]], Awaitable[int]],
    tell: Callable[[str], None],
) -> list[Json]:
    """The records of the shards that the artifact is to hold: all, or the first ones that hold enough accepted rows.

    Shards are read in the order of their numbers, whatever order they are finished in, so that how many engines there
    are decides nothing. Those that were begun and turn out not to be needed are dropped.
    name: of the step. needs: rows of the corpora that are made of its completions, if any. names: of all shards that
    there can be.
    count: rows of finished shards that the rule accepts, where their records do not say.

    Raises TooFewRows as soon as it is plain that none of the corpora can be filled.
    """
    until = amount.accepted is not None
    needs = needs if amount.accepted is None else [amount.accepted]
    tasks: list[asyncio.Future[Json]] = []
    records: list[Json] = []
    seen, last = Seen(), Estimate("", short=0, decided=not needs)
    try:
        while len(records) < len(names) and not is_enough(amount, seen):
            tasks += [asyncio.ensure_future(write(shard)) for shard in names[len(tasks) : wanted_shards(amount, seen)]]
            new = [await tasks[len(records)]]
            # All that are done by now are counted at once, so that counting keeps up with fast engines.
            while not until and len(records) + len(new) < len(tasks) and tasks[len(records) + len(new)].done():
                new.append(tasks[len(records) + len(new)].result())
            records += new
            if until or not last.decided:
                found = new[0]["results"]["accepted"] if until else await count(new)
                seen += Seen(sum(record["results"]["rows"] for record in new), found)
            if last.decided and (not until or len(records) < len(names)):
                continue
            before, last = last, estimate(name, amount, seen, needs)
            if not before.text or last.short != before.short:
                tell(last.text)
    except Stopped:
        await asyncio.gather(*tasks, return_exceptions=True)  # what engines are at is finished first
        raise
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return records
