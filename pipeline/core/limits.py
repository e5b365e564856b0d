"""Limits on input from users and servers, in bytes, values and steps; anything beyond is refused with a message."""

MIB, GIB = 1 << 20, 1 << 30

STUDY_BYTES = MIB  # of a study file; 10,000 traits with one entry each take half of it
STUDY_VALUES = 500_000  # of a study file, counting every use of an alias
ARMS = 10_000  # including all combinations of a sweep
SEEDS = 1_000
CORPORA = 1_000  # of one teacher
SHARDS = 1_000_000  # of one teacher's completions
STEPS = 2_000_000  # 10,000 traits × 3 families × 3 families × 4 seeds are about 900,000

VALUE_BYTES = 16 * MIB  # of one line of JSONL, or one string of Parquet
BATCH_BYTES = 256 * MIB  # of strings in memory at a time
ROWS_BYTES = 2 * GIB  # of a data set, which a step holds in memory as a whole
BLOWN_UP = 200  # a file that expands by more than this factor, and beyond GIB, is a decompression bomb

REPLY_BYTES = MIB  # of one reply of an endpoint, without headers
RETRY_SECONDS = 60.0  # longest wait before a retry that an endpoint may ask for
SHOWN = 200  # characters of a wrong value shown in a message
