"""What torch's profiler knows of an action: the peak of its memory, and where its time goes."""

import os
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

# the profiler's library reports its own starts and stops otherwise, on stderr
os.environ.setdefault("KINETO_LOG_LEVEL", "99")

STEPS = 5  # whose time is looked at, after one that is not
LISTED = 4  # of the other operations, the largest
ARITHMETIC = ("aten::addmm", "aten::mm", "aten::mkldnn_linear", "aten::linear")


def peak_memory(action: Callable[[], object], device: torch.device) -> int:
    """The most bytes that ``action`` holds at once on top of what was there, with what it returns.

    On a CPU the highest running sum of what torch's allocator hands out and takes back: exact, and
    the same in every run with as many threads. Not seen is the scratch space within one operation;
    not subtracted what was there before and is freed meanwhile. A first call may take more.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        action()
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        action()
    events = profiler.profiler.kineto_results.events()
    sizes = [(e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]"]  # < 0: freed
    sizes.sort(key=lambda pair: pair[0])  # stable: the order of equal times is kept
    return int(np.cumsum([size for _, size in sizes], dtype=np.int64).max(initial=0))


def time_shares(step: Callable[[], object]) -> dict[str, Any]:
    """Shares in [0, 1] of the time that operations take: "arithmetic", and the largest "others".

    An operation's time is its own, without that of the operations which it calls.
    """
    step()
    activities, own = [ProfilerActivity.CPU], "self_cpu_time_total"
    if torch.cuda.is_available():
        activities, own = [*activities, ProfilerActivity.CUDA], "self_device_time_total"
    with profile(activities=activities) as profiler:
        for _ in range(STEPS):
            step()
    times = {event.key: getattr(event, own) for event in profiler.key_averages()}
    total = sum(times.values())
    others = {name: time for name, time in times.items() if not is_arithmetic(name)}
    largest = Counter(others).most_common(LISTED)
    return {
        "arithmetic": 1 - sum(others.values()) / total,
        "others": {name.removeprefix("aten::"): time / total for name, time in largest},
    }


def is_arithmetic(name: str) -> bool:
    """Whether the profiler's operation is a convolution or a matrix product, or part of one."""
    return "conv" in name.lower() or name in ARITHMETIC
