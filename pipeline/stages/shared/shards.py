"""Generates the shards of a teacher's completions, until there are enough or it is clear that there never will be."""

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
    report: Callable[[str], None],
) -> list[Json]:
    """The records of the shards to keep: all, or the first ones with enough accepted rows.

    Shards are counted in the order of their numbers, whatever order they finish in, so that the number of engines does
    not affect the result. Shards that were started but turn out not to be needed are dropped.
    name: of the step. needs: rows of the corpora that are made of its completions, if any. names: of all possible
    shards. count: accepted rows of finished shards, if their records do not say. report: shows a line to the user.

    Raises TooFewRows as soon as it is clear that none of the corpora can be filled.
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
            # Count all finished shards together, so that counting keeps up with fast engines.
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
                report(last.text)
    except Stopped:
        await asyncio.gather(*tasks, return_exceptions=True)  # let the running shards finish
        raise
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return records
