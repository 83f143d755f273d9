"""Task 1: do convolutional networks beat fully connected ones on images, and by how much?

    1.1 mnist_comparison   FCNet, SimpleCNN and CNNWithResidual on MNIST
    1.2 cifar_comparison   DeepFCNet, CNNWithResidual and CNNWithResidualReg on CIFAR-10

Declared in experiments/; tables and figures: results/ and plots/.
"""

import sys

from experiments import STUDY, TASK_1
from utils.runner import main

if __name__ == "__main__":
    sys.exit(main(TASK_1, __doc__, study=STUDY))
