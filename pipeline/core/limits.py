"""How much is read of what others wrote: bytes, values and steps beyond which it is refused with a message."""

MIB, GIB = 1 << 20, 1 << 30

STUDY_BYTES = MIB  # of a study file: 10,000 traits with an entry each take half of it
STUDY_VALUES = 500_000  # of a study file, aliases counted as often as they stand
ARMS = 10_000  # with all combinations of a sweep
SEEDS = 1_000
SHARDS = 1_000_000  # of all completions of one teacher
STEPS = 2_000_000  # 10,000 traits × 3 families × 3 families × 4 seeds are about 900,000

VALUE_BYTES = 16 * MIB  # of one line of JSONL, and of one string of Parquet
BATCH_BYTES = 256 * MIB  # of the strings that are in memory at a time
ROWS_BYTES = 2 * GIB  # of given rows, which a step holds whole
BLOWN_UP = 200  # times the bytes of its file, and more than GIB: a decompression bomb

REPLY_BYTES = MIB  # of one reply of an endpoint, headers aside
RETRY_SECONDS = 60.0  # that an endpoint may have its client wait before it asks again
SHOWN = 200  # characters of a wrong value in a message
