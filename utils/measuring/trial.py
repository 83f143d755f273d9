"""Trial: whatever a run will ask of its network, asked of it untrained, before hours are spent."""

from dataclasses import replace

import torch
from torch import nn

from utils.data.batches import normalise
from utils.data.dataset import TENSORS, Dataset
from utils.errors import UserError, in_one_line
from utils.experiment import Run
from utils.machine import product_type
from utils.measuring.probes import probe
from utils.records.runs import identity
from utils.training.loop import build_network, train_step, weight_layers
from utils.training.optimizers import build_optimizers

IMAGES = 4


def try_out(run: Run, dataset: Dataset) -> None:
    """Builds the run's network, looks into it and makes one training step, with a few images.

    What cannot be seen of it is told, and will be left out of the record: see ``probe``.
    Raises: UserError for a network that cannot be trained.
    """
    few = replace(dataset, **{name: getattr(dataset, name)[:IMAGES] for name in TENSORS})
    try:
        identity(run)  # its overrides can be recorded
        network = build_network(run)
        check_outputs(network, run.network, few)
        probe(network, few)
        optimizers = build_optimizers(network, run.recipe, product_type(run.compute))
        images = normalise(few.x_train, few)
        train_step(network.train(), images, few.y_train, optimizers, run.compute)
    except UserError:
        raise
    except Exception as error:  # anything that one's own network may raise
        raise UserError(
            f"{run.network}: cannot be trained on {dataset.description} ({in_one_line(error)}); "
            "mend it in models/, or its overrides in experiments/"
        ) from error


@torch.inference_mode()
def check_outputs(network: nn.Module, name: str, dataset: Dataset) -> None:
    """One number for each image and class, and layers whose gradients can be recorded.

    Raises: UserError where there is something else.
    """
    found = list(network.eval()(normalise(dataset.x_train, dataset)).shape)
    expected = [len(dataset.x_train), len(dataset.classes)]
    if found != expected:
        raise UserError(
            f"{name}: puts out {found} for {expected[0]} images, expected {expected}: a number for "
            "each class; mend its forward in models/"
        )
    if not weight_layers(network):
        raise UserError(
            f"{name}: has no convolution and no linear layer, whose gradients a record holds; "
            "build it of nn.Conv2d, CustomConv or nn.Linear"
        )
