"""Task 1: do convolutional networks beat fully connected ones on images, and by how much?

    1.1 mnist_comparison   FCNet, SimpleCNN and CNNWithResidual on MNIST
    1.2 cifar_comparison   DeepFCNet, CNNWithResidual and CNNWithResidualReg on CIFAR-10

Control experiments, which change one thing at a time; * is mnist and cifar:

    locality_*             the pixels of every image in one random order
    weight_sharing         between the two: neighbours without shared weights, on CIFAR-10
    shift_*                test images moved by 0 to 6 pixels
    sample_size_*          1,000, 10,000 and all train images
    regularisation         each regulariser by itself, on CIFAR-10, in 10 epochs and in 40

Declared in experiments/; tables and figures: results/ and plots/.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # PYTHONSAFEPATH leaves it out

from utils.errors import importing

if __name__ == "__main__":
    with importing():  # torch too, which takes seconds
        from experiments import STUDY, TASK_1
        from experiments.answers import ANSWERS
        from utils.runner import main

    sys.exit(main(TASK_1, __doc__, study=STUDY, answers=ANSWERS))
