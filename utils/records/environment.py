"""The machine that a record was made on, in words."""

from utils.records.schema import Environment


def machine(environment: Environment) -> str:
    """Processor or accelerator, as in "AMD EPYC"."""
    return environment.processor if environment.device == "cpu" else environment.device


def machine_name(environment: Environment) -> str:
    """That and its threads, as in "AMD EPYC (AVX512 with bfloat16, 2 threads)"."""
    on_cpu = environment.device == "cpu"
    details = [f"{environment.threads} thread{'' if environment.threads == 1 else 's'}"]
    if on_cpu and environment.instructions:
        has_bfloat16 = " with bfloat16" if environment.native_bfloat16 else ""
        details.insert(0, f"{environment.instructions}{has_bfloat16}")
    return f"{machine(environment)} ({', '.join(details)})"
