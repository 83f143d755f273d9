"""The two languages of the README: the words of its tables and of the overview figure."""

import re
from collections.abc import Mapping

from utils.report.verdicts import LITTLE, NO_DIFFERENCE, NOT_TESTED, OPEN, REFUTED, SUPPORTED

AS_GOOD = "as good"  # the first screen's word for a supported claim that two are equal
WORDS: Mapping[str, Mapping[str, str]] = {
    "en": {
        SUPPORTED: "supported",
        LITTLE: "supported, by less than matters",
        REFUTED: "refuted",
        NO_DIFFERENCE: "no difference that matters",
        OPEN: "open",
        NOT_TESTED: "not run yet",
        AS_GOOD: "as good",
        "also": "; {what} differ too",
        "parameters_too": "parameters",
        "flops_too": "FLOPs",
        "layers_too": "layers",
        "field_too": "receptive field",
        "else_too": "other parts",
        "confounded": "hollow: something else differs too",
        "title": "What holds, and how surely",
        "axis": "difference in accuracy, points, with its 95 % interval",
        "forest": (
            "By how much the first is more accurate than the second on test images: mean and 95 % "
            "interval; small dots: each seed of the first less the mean of the second; grey band: "
            "too little to matter; hollow: the two differ in something else too. “Train images”: "
            "accuracy on those."
        ),
        "left_out": " Left out, since runs diverged: {labels}.",
        "counts": "Of {number} comparisons: {each}",
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
        "ratios": "Ratios: {machine}, geometric means of {passes} passes.",
        "time": (
            "One seed of the {networks} networks of sections 1 to 3 takes {hours} hours on "
            "{machine}, reckoned from the measured rate of training in {precision}."
        ),
        "to": " to ",
    },
    "ru": {
        SUPPORTED: "подтверждено",
        LITTLE: "подтверждено, но разница несущественна",
        REFUTED: "опровергнуто",
        NO_DIFFERENCE: "существенной разницы нет",
        OPEN: "вопрос открыт",
        NOT_TESTED: "ещё не измерено",
        AS_GOOD: "не хуже",
        "also": "; различаются и {what}",
        "parameters_too": "параметры",
        "flops_too": "FLOPs",
        "layers_too": "слои",
        "field_too": "рецептивное поле",
        "else_too": "другие части",
        "confounded": "пустой: есть и другое различие",
        "title": "Что верно и насколько надёжно",
        "axis": "разница точности, п. п., с 95%-м интервалом",
        "forest": (
            "На сколько первая сеть точнее второй на тесте: среднее и 95%-й доверительный "
            "интервал; мелкие точки: каждый запуск первой минус среднее второй; серая полоса: "
            "разница слишком мала, чтобы быть важной; пустой значок: сети различаются и чем-то "
            "ещё; «на обучающих»: точность на обучающих изображениях, а не на тесте."
        ),
        "left_out": " Не показано, так как обучение разошлось: {labels}.",
        "counts": "Сравнений {number}: {each}",
        "question": "Вопрос",
        "answer": "Ответ",
        "difference": "Разница, п. п. [95 % ДИ]",
        "verdict": "Вердикт",
        "page": "Подробно",
        "network": "Сеть",
        "layer": "Слой",
        "parameters": "Параметры",
        "mflops": "MFLOPs",
        "accuracy": "Точность на тесте, %",
        "latency": "Одно изображение, мс",
        "gap": "Обучение минус тест, п. п.",
        "receptive_field": "Рецептивное поле, пиксели",
        "analogue": "Аналог",
        "forward": "Прямой проход, во сколько раз дольше аналога",
        "both": "вместе с обратным",
        "seeds": (
            "± — половина 95%-го доверительного интервала среднего по {seeds} запускам с разными "
            "seed."
        ),
        "timed": "Время: {machine}, медиана по {passes} проходам.",
        "ratios": "Отношения: {machine}, среднее геометрическое по {passes} проходам.",
        "time": (
            "Обучить по одному разу {networks} сетей из разделов 1–3 — это {hours} ч на {machine}: "
            "расчёт по измеренной скорости обучения в {precision}."
        ),
        "to": "–",
    },
}
SUFFIXES = {"en": "", "ru": ".ru"}  # of the names of a README's blocks


def localised(text: str, language: str) -> str:
    """An English text with the language's numbers: 60,362 and 0.19, 60 362 and 0,19.

    The threads of a machine's name are translated too.
    """
    if language == "en":
        return text
    text = re.sub(r"(\d+) threads?", r"потоков: \1", text)
    text = re.sub(r"(?<=\d),(?=\d{3})", "\N{NO-BREAK SPACE}", text)
    return re.sub(r"(?<=\d)\.(?=\d)", ",", text)


def word_of(verdict: str) -> str:
    """The key in ``WORDS`` of a verdict, which may say more: "open: about 14 seeds"."""
    known = (LITTLE, SUPPORTED, REFUTED, NO_DIFFERENCE, NOT_TESTED, OPEN)
    return next((each for each in known if verdict.startswith(each)), OPEN)
