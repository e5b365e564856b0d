"""The matmul throughput of a worker, which training is compared with.

On CPUs both are per second of CPU time, so that other work on the machine does not decide the comparison.
"""

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

SECONDS = 0.3  # of one measurement
SIDE = {"cpu": 1024, "cuda": 8192}  # of the square matrices; large enough to keep the device busy


def device() -> "torch.device":
    """The worker's GPU if it has one: Ray hides those that are not its own."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def matmul_rate() -> float:
    """Floating-point operations per second (see `clock`) of products of square float32 matrices, over SECONDS."""
    import torch

    on = device()
    side = SIDE[on.type]
    a, b = torch.rand(side, side, device=on), torch.rand(side, side, device=on)
    _ = a @ b  # the first one sets up threads and libraries
    done, started = 0, clock()
    while (seconds := clock() - started) < SECONDS:
        _ = a @ b
        done += 1
        if on.type == "cuda":
            torch.cuda.synchronize()
    return 2.0 * side**3 * done / seconds


def clock() -> float:
    """Seconds of the processor: CPU time of all threads; on a GPU wall-clock time, once everything is computed."""
    import torch

    if not torch.cuda.is_available():
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()
