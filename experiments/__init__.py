"""The experiments, declared as data: one module for each question, and here all of them in order.

Nothing is trained or read here; the three scripts hand these to ``utils.runner``.
"""

from experiments import cnn_vs_fc, custom_layers, depth, kernel_size, residual_blocks
from utils.experiment import Experiment

TASK_1: tuple[Experiment, ...] = (cnn_vs_fc.MNIST_COMPARISON, cnn_vs_fc.CIFAR_COMPARISON)
TASK_2: tuple[Experiment, ...] = (
    kernel_size.KERNEL_SIZE,
    kernel_size.KERNEL_SIZE_MATCHED,
    depth.DEPTH,
)
TASK_3: tuple[Experiment, ...] = (custom_layers.CUSTOM_LAYERS, residual_blocks.RESIDUAL_BLOCKS)
STUDY = (*TASK_1, *TASK_2, *TASK_3)
