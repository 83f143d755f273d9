"""torch's settings for a whole process: those that a record names nowhere are as torch has them."""

import os
from collections.abc import Callable

import torch

from utils.errors import UserError

# without which float32 is not what a record says; products may be told to have fewer digits
OF_RECORDS: dict[str, object] = {
    "default device": "cpu",
    "default dtype": torch.float32,
    "float32 matmul precision": "highest",
    "grad mode": True,
    "anomaly detection": False,
    "autocast": False,
}
ROUGH = 3e-5  # relative error of a product: that of float32 is 5e-7, of TF32 3e-4, of bfloat16 2e-3
VARIABLES = ("ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE")


def process_settings() -> dict[str, object]:
    """What a network may set and all that come after it have."""
    cudnn = torch.backends.cudnn
    return {
        "default device": str(torch.get_default_device()),
        "default dtype": torch.get_default_dtype(),
        "float32 matmul precision": _or_several(torch.get_float32_matmul_precision),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "grad mode": torch.is_grad_enabled(),
        "anomaly detection": torch.is_anomaly_enabled(),
        "autocast": any(map(torch.is_autocast_enabled, ("cpu", "cuda"))),
        "number of threads": torch.get_num_threads(),
        "backends.mkldnn.enabled": torch.backends.mkldnn.enabled,
        "backends.cudnn": (cudnn.enabled, cudnn.benchmark, _or_several(lambda: cudnn.allow_tf32)),
    }


def _or_several(ask: Callable[[], object]) -> object:
    """What torch answers; of precisions that differ from place to place it has no one answer."""
    try:
        return ask()
    except RuntimeError:
        return "several"


def check_defaults() -> None:
    """What a record does not name is as torch has it, and float32 has its digits on the processor.

    Raises: UserError naming what has been set before, at an import in models/ or around this.
    """
    # whatever has set it: TORCH_ALLOW_TF32_CUBLAS_OVERRIDE in NVIDIA's containers, a notebook
    torch.set_float32_matmul_precision("highest")
    now = process_settings()
    if other := [what for what, value in OF_RECORDS.items() if now[what] != value]:
        raise UserError(
            f"torch's {other[0]} has been set to {now[other[0]]} before the command began, and no "
            f"record would tell it from {OF_RECORDS[other[0]]}; leave that out, in models/ or "
            "where main is called"
        )
    if (error := product_error()) > ROUGH:
        here = [
            f"{name}={os.environ[name]}"
            for name in VARIABLES
            if os.environ.get(name, "STRICT") != "STRICT"
        ]
        why = (
            f"{' '.join(here)} in the environment: unset it"
            if here
            else (
                "torch.backends has been set so: leave that out, in models/ or where main is called"
            )
        )
        raise UserError(
            f"products in float32 have a relative error of {error:.0e} here, which no record would "
            f"tell; {why} (--precision bfloat16 is on record)"
        )


def product_error() -> float:
    """Largest relative error of a convolution and of a product of matrices, in float32."""
    draw = torch.Generator().manual_seed(0)
    maps, filters = (
        torch.randn(size, generator=draw) for size in ((4, 16, 16, 16), (16, 16, 3, 3))
    )
    matrix = torch.randn(128, 128, generator=draw)
    errors = []
    for product, *of in (
        (torch.nn.functional.conv2d, maps, filters),
        (torch.matmul, matrix, matrix),
    ):
        exact = product(*(each.double() for each in of))
        errors.append(((product(*of) - exact).abs().max() / exact.abs().max()).item())
    return max(errors)


def check_settings(name: str, before: dict[str, object]) -> None:
    """Nothing of ``process_settings`` is otherwise than it was.

    Raises: UserError naming what is.
    """
    now = process_settings()
    if changed := [what for what in before if now[what] != before[what]]:
        raise UserError(
            f"{name}: changes torch's {changed[0]}, which is for all networks of the command; "
            "leave that out of models/"
        )
