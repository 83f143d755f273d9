"""Task 2: what do kernel size and depth do?

    2.1 kernel_size            3×3, 5×5, 7×7 and 1×1+3×3 kernels, in the report's networks
        kernel_size_matched    the same four shapes at an equal number of parameters
    2.2 depth                  2, 4 and 6 convolutions, and 7 with residual connections

Control experiments, which change one thing at a time:

    kernel_size_equal_flops    the same four shapes at equal FLOPs
    kernel_size_equal_cost     and at equal parameters and FLOPs at once
    depth_matched              2, 4 and 6 convolutions at an equal number of parameters
    depth_ladder               8, 20 and 44 layers, residual, plain, and without batch-norm
    depth_ladder_sgd           the residual and plain ones with SGD alone, beside those with Muon
    initial_weights            without batch-norm, 20 and 44 layers: torch's and He's first weights
    shortcut                   ResNetLikeCNN with and without its shortcuts

All on CIFAR-10 under one recipe. Declared in experiments/; tables and figures: results/ and plots/.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # PYTHONSAFEPATH leaves it out

from utils.errors import importing

if __name__ == "__main__":
    with importing():  # torch too, which takes seconds
        from experiments import STUDY, TASK_2
        from experiments.answers import ANSWERS
        from utils.runner import main

    sys.exit(main(TASK_2, __doc__, study=STUDY, answers=ANSWERS))
