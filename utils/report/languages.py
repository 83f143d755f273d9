"""The two languages of the README: the words of its tables and of the overview figure."""

import re
from collections.abc import Mapping

from utils.report.verdicts import LITTLE, NO_DIFFERENCE, NOT_TESTED, OPEN, REFUTED, SUPPORTED

WORDS: Mapping[str, Mapping[str, str]] = {
    "en": {
        SUPPORTED: "supported",
        LITTLE: "supported, by less than matters",
        REFUTED: "refuted",
        NO_DIFFERENCE: "no difference that matters",
        OPEN: "open",
        NOT_TESTED: "not run yet",
        "title": "What holds, and how surely",
        "axis": "difference in accuracy, points, with its 95 % interval",
        "forest": (
            "Differences in test accuracy with their 95 % intervals; small dots: each seed of the "
            "first less the mean of the second; grey: too little to matter; hollow: something else "
            "differs too. Of “train images” the accuracy on those."
        ),
        "question": "Question",
        "answer": "Answer",
        "difference": "Difference, points [95 % CI]",
        "verdict": "Verdict",
        "page": "More",
        "network": "Network",
        "layer": "Layer",
        "parameters": "Parameters",
        "mflops": "MFLOPs",
        "accuracy": "Test accuracy, %",
        "latency": "One image, ms",
        "gap": "Train minus test, points",
        "receptive_field": "Receptive field, pixels",
        "analogue": "Analogue",
        "forward": "Forward, times the analogue's",
        "both": "with backward",
        "seeds": "± is half the 95 % interval of the mean over {seeds} seeds.",
        "timed": "Times: {machine}, medians of {passes} passes.",
        "time": (
            "Training the {networks} networks of sections 1 to 3 with one seed takes {hours} hours "
            "on {machine}."
        ),
        "to": "to",
    },
    "ru": {
        SUPPORTED: "подтверждено",
        LITTLE: "подтверждено, но на несущественную величину",
        REFUTED: "опровергнуто",
        NO_DIFFERENCE: "существенной разницы нет",
        OPEN: "открыто",
        NOT_TESTED: "ещё не измерено",
        "title": "Что верно и насколько надёжно",
        "axis": "разница точности, пункты, с 95 % интервалом",
        "forest": (
            "Разницы точности на тесте с 95 % интервалами; точки: каждый seed первой минус среднее "
            "второй; серое: слишком мало, чтобы быть важным; полые: отличается и что-то ещё. "
            "Где сказано «обучение» — точность на обучающих картинках."
        ),
        "question": "Вопрос",
        "answer": "Ответ",
        "difference": "Разница, пункты [95 % ДИ]",
        "verdict": "Вывод",
        "page": "Подробно",
        "network": "Сеть",
        "layer": "Слой",
        "parameters": "Параметры",
        "mflops": "MFLOPs",
        "accuracy": "Точность на тесте, %",
        "latency": "Одна картинка, мс",
        "gap": "Обучение минус тест, пункты",
        "receptive_field": "Рецептивное поле, пиксели",
        "analogue": "Аналог",
        "forward": "Прямой проход, раз от аналога",
        "both": "с обратным",
        "seeds": "± — половина 95 % интервала среднего по {seeds} seed.",
        "timed": "Время: {machine}, медианы {passes} проходов.",
        "time": (
            "Обучение {networks} сетей разделов 1–3 с одним seed занимает {hours} ч на {machine}."
        ),
        "to": "–",
    },
}
SUFFIXES = {"en": "", "ru": ".ru"}  # of the names of a README's blocks


def localised(text: str, language: str) -> str:
    """The numbers of an English text as the language has them: 60,362 and 0.19, 60 362 and 0,19."""
    if language == "en":
        return text
    text = re.sub(r"(?<=\d),(?=\d{3})", "\N{NO-BREAK SPACE}", text)
    return re.sub(r"(?<=\d)\.(?=\d)", ",", text)


def word_of(verdict: str) -> str:
    """The key in ``WORDS`` of a verdict, which may say more: "open: about 14 seeds"."""
    known = (LITTLE, SUPPORTED, REFUTED, NO_DIFFERENCE, NOT_TESTED, OPEN)
    return next((each for each in known if verdict.startswith(each)), OPEN)
