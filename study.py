"""The whole study: the experiments of the three scripts, in the order of the README."""

import homework_cnn_architecture_analysis as task2
import homework_cnn_vs_fc_comparison as task1
import homework_custom_layers_experiments as task3
from utils.experiment import Experiment

EXPERIMENTS: tuple[Experiment, ...] = (
    *task1.EXPERIMENTS,
    *task2.EXPERIMENTS,
    *task3.EXPERIMENTS,
)
