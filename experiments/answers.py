"""What the study answers, in seven lines: the first screen of the README and its figure.

An answer is written by hand, under the verdicts that stand beside its comparisons here; a test
compares them with those of ``results/claims.csv``, so that an answer cannot outlive its evidence.
"""

from utils.claim import Answer, Shown

SUPPORTED, REFUTED, OPEN = "supported", "refuted", "open"
NO_DIFFERENCE = "no difference that matters"

ANSWERS: tuple[Answer, ...] = (
    Answer(
        "Do convolutional networks win on images?",
        "Лучше ли свёрточные сети?",
        "Yes: a little on digits, by far on photographs",
        "Да: немного на цифрах, намного на фотографиях",
        "cnn_vs_fc.md",
        (
            Shown(
                "1.2-sample-size",
                "CNN3x3 against DeepFCNet, photographs",
                "CNN3x3 против DeepFCNet, фотографии",
                SUPPORTED,
                pair=2,
            ),
            Shown(
                "1.1-simple-cnn",
                "SimpleCNN against FCNet, digits",
                "SimpleCNN против FCNet, цифры",
                SUPPORTED,
            ),
        ),
    ),
    Answer(
        "Why do they?",
        "За счёт чего?",
        "They look at neighbouring pixels, everywhere with the same weights: each adds to the lead",
        "Они смотрят на соседние пиксели, и всюду с одними и теми же весами: важно и то и другое",
        "locality.md",
        (
            Shown(
                "1.2-permuted-cnn",
                "CNN3x3: pixels in order against shuffled",
                "CNN3x3: пиксели на местах и перемешаны",
                SUPPORTED,
            ),
            Shown(
                "1.2-permuted-fc",
                "DeepFCNet: as good with the pixels shuffled",
                "DeepFCNet: с перемешанными не хуже",
                SUPPORTED,
            ),
            Shown(
                "1.2-local",
                "Neighbours: LocalCNN against DeepFCNet",
                "Соседство: LocalCNN против DeepFCNet",
                SUPPORTED,
            ),
            Shown(
                "1.2-shared",
                "Shared weights: CNN3x3 against LocalCNN",
                "Общие веса: CNN3x3 против LocalCNN",
                SUPPORTED,
            ),
        ),
    ),
    Answer(
        "Does regularisation help?",
        "Помогает ли регуляризация?",
        "In a network that overfits much, all but label smoothing; beside the others dropout harms",
        "Если сеть сильно переобучается — всё, кроме label smoothing; рядом с остальными dropout "
        "вредит",
        "regularisation.md",
        (
            Shown(
                "1.2-dropout",
                "CNN3x3: dropout alone against none",
                "CNN3x3 с одним dropout и без него",
                SUPPORTED,
            ),
            Shown(
                "1.2-augmentation",
                "CNN3x3: augmentation alone against none",
                "CNN3x3 с одной аугментацией и без неё",
                SUPPORTED,
            ),
            Shown(
                "1.2-added-dropout",
                "CNN3x3: dropout added to all others",
                "CNN3x3: dropout в добавку к остальным",
                REFUTED,
            ),
            Shown(
                "1.2-reg-dropout",
                "CNNWithResidualReg: with dropout against without",
                "CNNWithResidualReg с dropout и без",
                REFUTED,
            ),
        ),
        rests_on=(
            ("1.2-weight-decay", SUPPORTED),
            ("1.2-label-smoothing", NO_DIFFERENCE),
            ("1.2-added-dropout-longer", REFUTED),
        ),
    ),
    Answer(
        "Does kernel size matter?",
        "Важен ли размер ядра?",
        "7×7 is worse in all four comparisons; 5×5 is as good at equal parameters, else worse",
        "7×7 хуже во всех четырёх сравнениях; 5×5 не хуже при равном числе параметров, иначе хуже",
        "kernel_size.md",
        (
            Shown(
                "2.1-equal-7x7",
                "3×3 against 7×7, equal parameters",
                "3×3 против 7×7, параметров поровну",
                SUPPORTED,
            ),
            Shown(
                "2.1-equal-5x5",
                "3×3 against 5×5, equal parameters",
                "3×3 против 5×5, параметров поровну",
                NO_DIFFERENCE,
            ),
            Shown(
                "2.1-same-flops",
                "3×3 against 5×5, equal FLOPs",
                "3×3 против 5×5, FLOPs поровну",
                SUPPORTED,
            ),
            Shown(
                "2.1-cost",
                "3×3 against 5×5, equal parameters and FLOPs",
                "3×3 против 5×5, параметров и FLOPs поровну",
                SUPPORTED,
            ),
        ),
        rests_on=(("2.1-7x7", SUPPORTED), ("2.1-5x5", SUPPORTED)),
    ),
    Answer(
        "Does depth help?",
        "Помогает ли глубина?",
        "Four convolutions beat two at equal size too, six are as good as four there; without "
        "shortcuts 44 layers train worse than 20",
        "Четыре свёртки лучше двух и при равном размере, шесть там не лучше четырёх; без "
        "остаточных связей 44 слоя обучаются хуже, чем 20",
        "depth.md",
        (
            Shown(
                "2.2-equal-depth",
                "Four convolutions against two, equal parameters",
                "Четыре свёртки против двух, параметров поровну",
                SUPPORTED,
            ),
            Shown(
                "2.2-equal-deeper",
                "Six convolutions against four, equal parameters",
                "Шесть свёрток против четырёх, параметров поровну",
                NO_DIFFERENCE,
            ),
            Shown(
                "2.2-degradation",
                "No shortcuts, train images: 20 layers against 44",
                "Без остаточных связей, на обучающих: 20 слоёв против 44",
                SUPPORTED,
            ),
        ),
    ),
    Answer(
        "What do shortcuts do?",
        "Что дают остаточные связи?",
        "Nothing that matters in a network of seven convolutions, 3 points at 20 layers, 12 at 44; "
        "more with SGD alone",
        "В сети из семи свёрток ничего существенного, 3 пункта при 20 слоях, 12 при 44; с одним "
        "SGD больше",
        "depth.md",
        (
            Shown(
                "2.2-shortcuts-44",
                "With against without, 44 layers",
                "С ними и без них, 44 слоя",
                SUPPORTED,
            ),
            Shown(
                "2.2-sgd-shortcuts-44",
                "With against without, 44 layers, SGD alone",
                "С ними и без них, 44 слоя, один SGD",
                SUPPORTED,
            ),
            Shown(
                "2.2-shortcuts-20",
                "With against without, 20 layers",
                "С ними и без них, 20 слоёв",
                SUPPORTED,
            ),
            Shown(
                "2.2-shortcuts",
                "With against without, ResNetLikeCNN",
                "С ними и без них, ResNetLikeCNN",
                NO_DIFFERENCE,
            ),
        ),
        rests_on=(("2.2-sgd-more-20", SUPPORTED), ("2.2-sgd-more-44", SUPPORTED)),
    ),
    Answer(
        "What do custom layers and blocks bring?",
        "Что дают собственные слои и блоки?",
        "L2Pooling 1 point for 18 % more training time, ChannelAttention nothing that matters; at "
        "equal size the bottleneck beats the basic block",
        "L2Pooling — 1 пункт, но обучение дольше на 18 %, ChannelAttention — ничего существенного; "
        "при равном размере bottleneck лучше базового блока",
        "custom_layers.md",
        (
            Shown(
                "3.1-trained-l2pooling",
                "CNN3x3: L2Pooling against max-pooling",
                "CNN3x3 с L2Pooling и с max-pooling",
                SUPPORTED,
            ),
            Shown(
                "3.1-trained-channelattention",
                "CNN3x3: ChannelAttention against none",
                "CNN3x3 с ChannelAttention и без него",
                NO_DIFFERENCE,
            ),
            Shown(
                "3.2-equal-size",
                "Bottleneck against basic block, equal size",
                "Bottleneck против базового, размер равный",
                SUPPORTED,
                pair=2,
            ),
        ),
    ),
)
