"""Peak memory: the most that an action holds at once, on top of what was there before it.

On CUDA the allocator keeps count itself. On a CPU torch's profiler records every piece that its
allocator hands out or takes back, and the highest running sum is the peak: exact, the same in
every run with as many threads, and without the interpreter and libraries that the size of the
process would include.
Not seen is what a library takes for itself, such as the scratch space within one convolution.
"""

import os
from collections.abc import Callable

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

# the profiler's library reports its own starts and stops otherwise, on stderr
os.environ.setdefault("KINETO_LOG_LEVEL", "99")


def peak_memory(action: Callable[[], object], device: torch.device) -> int:
    """Bytes, with what ``action`` returns; call it before where a first call makes more.

    What was there before and is freed meanwhile, as old gradients are, is not subtracted on a CPU.
    """
    return _peak_on_cuda(action, device) if device.type == "cuda" else _peak_on_cpu(action)


def _peak_on_cuda(action: Callable[[], object], device: torch.device) -> int:
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    action()
    return torch.cuda.max_memory_allocated(device) - before


def _peak_on_cpu(action: Callable[[], object]) -> int:
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        action()
    events = [
        (event.start_ns(), event.nbytes())  # negative where memory is given back
        for event in profiler.profiler.kineto_results.events()
        if event.name() == "[memory]"
    ]
    events.sort(key=lambda event: event[0])  # stable: the order of equal times is kept
    return int(np.cumsum([size for _, size in events], dtype=np.int64).max(initial=0))
