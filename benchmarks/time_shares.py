"""Where the time of a training step goes, by torch's own profiler.

A slow step has a reason only where it was looked for: the share of convolutions and matrix
products says how much of the time does the arithmetic that ``utils.measuring.flops`` counts.
"""

import os
from collections.abc import Callable
from typing import Any

import torch

# the profiler's library reports its own starts and stops otherwise, on stderr
os.environ.setdefault("KINETO_LOG_LEVEL", "99")

STEPS = 5  # that are looked at, after one that is not
LISTED = 4  # of the other operations, the largest
ARITHMETIC = ("aten::addmm", "aten::mm", "aten::mkldnn_linear", "aten::linear")


def time_shares(step: Callable[[], object]) -> dict[str, Any]:
    """Shares in [0, 1] of the time that operations take: "arithmetic", and the largest "others".

    An operation's time is its own, without that of the operations which it calls.
    """
    step()
    activities = [torch.profiler.ProfilerActivity.CPU]
    with_cuda = torch.cuda.is_available()
    if with_cuda:
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as profile:
        for _ in range(STEPS):
            step()
    own = "self_device_time_total" if with_cuda else "self_cpu_time_total"
    times = {event.key: getattr(event, own) for event in profile.key_averages()}
    total = sum(times.values())
    others = {name: time for name, time in times.items() if not is_arithmetic(name)}
    largest = sorted(others, key=others.__getitem__, reverse=True)[:LISTED]
    return {
        "arithmetic": 1 - sum(others.values()) / total,
        "others": {name.removeprefix("aten::"): others[name] / total for name in largest},
    }


def is_arithmetic(name: str) -> bool:
    """Whether the profiler's operation is a convolution or a matrix product, or part of one."""
    return "conv" in name.lower() or name in ARITHMETIC
