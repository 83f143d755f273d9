"""The experiments, declared as data: one module for each question, and here all of them in order.

Nothing is trained or read here; the three scripts hand these to ``utils.runner``.
"""

from experiments import (
    cnn_vs_fc,
    custom_layers,
    depth,
    kernel_size,
    locality,
    regularisation,
    residual_blocks,
    sample_size,
)
from utils.experiment import Experiment

TASK_1: tuple[Experiment, ...] = (
    cnn_vs_fc.MNIST_COMPARISON,
    cnn_vs_fc.CIFAR_COMPARISON,
    locality.LOCALITY_MNIST,
    locality.LOCALITY_CIFAR,
    locality.WEIGHT_SHARING,
    locality.SHIFT_MNIST,
    locality.SHIFT_CIFAR,
    sample_size.SAMPLE_SIZE_MNIST,
    sample_size.SAMPLE_SIZE_CIFAR,
    regularisation.REGULARISATION,
)
TASK_2: tuple[Experiment, ...] = (
    kernel_size.KERNEL_SIZE,
    kernel_size.KERNEL_SIZE_MATCHED,
    kernel_size.KERNEL_SIZE_EQUAL_FLOPS,
    kernel_size.KERNEL_SIZE_EQUAL_COST,
    depth.DEPTH,
    depth.DEPTH_MATCHED,
    depth.DEPTH_LADDER,
    depth.DEPTH_LADDER_SGD,
    depth.INITIAL_WEIGHTS,
    depth.SHORTCUT,
)
TASK_3: tuple[Experiment, ...] = (
    custom_layers.CUSTOM_LAYERS,
    custom_layers.LAYERS_IN_TRAINING,
    residual_blocks.RESIDUAL_BLOCKS,
    residual_blocks.BLOCK_LEARNING_RATE,
)
STUDY = (*TASK_1, *TASK_2, *TASK_3)
