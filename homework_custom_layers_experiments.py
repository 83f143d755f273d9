"""Task 3: what does a custom layer cost and bring, and which residual block is worth its price?

    3.1 custom_layers      Swish, L2Pooling, CustomConv and ChannelAttention beside their analogues
    3.2 residual_blocks    basic, bottleneck and wide blocks: by themselves, and inside the same
                           small network on CIFAR-10

Control experiments, which change one thing at a time:

    layers_in_training     CNN3x3 with one of its layers swapped for another
    block_learning_rate    two blocks at equal size, at four learning rates

Declared in experiments/; tables and figures: results/ and plots/.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # PYTHONSAFEPATH leaves it out

from utils.errors import importing

if __name__ == "__main__":
    with importing():  # torch too, which takes seconds
        from experiments import STUDY, TASK_3
        from experiments.answers import ANSWERS
        from utils.runner import main

    sys.exit(main(TASK_3, __doc__, study=STUDY, answers=ANSWERS))
