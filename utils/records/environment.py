"""The machine and the versions that a record was made with."""

import platform
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy
import torch
import torchvision
from torch.utils.benchmark import Timer


def processor() -> str:
    """The processor's name, as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def has_native_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 itself; elsewhere it is emulated and slow.

    It may be slow all the same: see ``bfloat16_speed``.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        found = torch.cpu.get_capabilities()
        return any(found.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return False


def bfloat16_speed(device: torch.device, rounds: int = 7) -> float:
    """How many times as fast as in float32 a convolution is in bfloat16, timed here and now.

    Instructions for bfloat16 do not tell: a virtual machine that hid the matrix units of its Xeon
    had all the others, and took twice as long as in float32. Both have their turn in each of the
    ``rounds``, and the fastest of either counts: other work can only make one slower.
    """
    x, weight = (
        torch.ones(size, 64, side, side, device=device).to(memory_format=torch.channels_last)
        for size, side in ((16, 32), (64, 3))
    )
    wide, narrow = (
        Timer(
            "conv2d(x, weight)",
            globals={"conv2d": torch.conv2d, "x": x.to(dtype), "weight": weight.to(dtype)},
            num_threads=torch.get_num_threads(),
        )
        for dtype in (torch.float32, torch.bfloat16)
    )
    seconds = [(wide.timeit(1).median, narrow.timeit(1).median) for _ in range(rounds)]
    fastest_wide, fastest_narrow = (min(each) for each in zip(*seconds, strict=True))
    return fastest_wide / fastest_narrow


def environment(device: torch.device) -> dict[str, object]:
    """Versions, processor, device and thread count, for a record; ``machine_name`` reads it."""
    return {
        "python": sys.version.split()[0],
        "torch": str(torch.__version__),  # a string of its own kind otherwise
        "torchvision": torchvision.__version__,
        "numpy": numpy.__version__,
        "system": platform.system(),
        "processor": processor(),
        # a cloud calls processors of three generations alike, which are not equally fast
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "native_bfloat16": has_native_bfloat16(device),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
    }


def machine_name(environment: Mapping[str, object]) -> str:
    """Processor or accelerator and threads, as in "AMD EPYC (AVX512 with bfloat16, 2 threads)"."""
    on_cpu = environment["device"] == "cpu"
    instructions = environment.get("instructions")  # records from before do not have it
    threads = environment["threads"]
    details = [f"{threads} thread{'' if threads == 1 else 's'}"]
    if on_cpu and instructions:
        has_bfloat16 = " with bfloat16" if environment["native_bfloat16"] else ""
        details.insert(0, f"{instructions}{has_bfloat16}")
    return f"{environment['processor' if on_cpu else 'device']} ({', '.join(details)})"
