"""How everything is trained: one recipe for each dataset, shared by all experiments on it.

The rates rise in a straight line over the first fifth of the steps and fall to zero over the
rest. Hidden weights are Muon's (``utils/training/optimizers.py``), all else has the named
optimiser. The augmentation is the usual one: a random crop of the padded image, and on CIFAR-10 a
mirror image half of the time; a mirrored digit is another sign.

Chosen on 5,000 images held out from each train split; ``docs/recipes.md`` has what was tried and
what each part buys.
"""

from dataclasses import replace

from utils.experiment import Recipe

MNIST_RECIPE = Recipe(
    epochs=10,
    optimizer="adamw",
    learning_rate=2e-3,
    weight_decay=0.05,
    batch_size=256,
    muon_rate=0.01,
    muon_decay=0.1,
    label_smoothing=0.1,
    crop_padding=2,
)

CIFAR10_RECIPE = Recipe(
    epochs=10,
    optimizer="sgd",
    learning_rate=0.1,
    weight_decay=5e-4,
    batch_size=256,
    muon_rate=0.02,
    muon_decay=0.1,
    label_smoothing=0.1,
    crop_padding=2,
    flip=True,
)

# of the experiments whose question is one of the seven's own: other seeds than theirs, so that what
# was seen there is not taken for granted here
CONTROL_SEEDS = (10, 11, 12, 13, 14)
# of what those five left a claim open about; how many was settled before the further ten were seen
MORE_SEEDS = tuple(range(10, 25))

QUICK_EPOCHS = 2


def quick(recipe: Recipe) -> Recipe:
    """The recipe for ``--quick``: gets a network somewhere in a hundred steps on few images.

    Without Muon, whose step costs the same for a small batch as for a large one.
    """
    return replace(
        recipe,
        epochs=QUICK_EPOCHS,
        optimizer="adamw",
        learning_rate=2e-3,
        weight_decay=0.05,
        batch_size=32,
        muon_rate=0.0,
        muon_decay=0.0,
        crop_padding=1,
    )
