"""Words with the frequencies of real mail: a few are common, most are rare (Zipf's law)."""

import itertools
import random
import re
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from services.mail.content.parse import parse_raw

_CORPUS = Path(__file__).resolve().parents[3] / "shared" / "corpus" / "real-mail.tar.gz"
_WORD = re.compile(r"[A-Za-z]{1,20}")
_GENERATED = 40_000
_SYLLABLES = [first + second for first in "bcdfghklmnprstvz" for second in "aeiou"]
_OTHER_SCRIPTS = [
    ["東京", "会議", "資料", "確認", "お願いします", "請求書", "予定", "変更", "明日", "連絡"],
    ["счёт", "встреча", "договор", "завтра", "пожалуйста", "оплата", "письмо", "отчёт", "срок", "вопрос"],
]


class Words:
    """A vocabulary, the commonest word first, from which texts are drawn."""

    def __init__(self, vocabulary: Sequence[str]) -> None:
        self.vocabulary = vocabulary
        # Mandelbrot's form of the law: the first words are less common than 1/rank.
        self._weights = list(itertools.accumulate(1 / (rank + 2.7) for rank in range(1, len(vocabulary) + 1)))

    def text(self, length: int, seed: random.Random) -> str:
        """Return `length` words; every 30th text is in another script."""
        if seed.random() < 1 / 30:
            script = seed.choice(_OTHER_SCRIPTS)
            return " ".join(seed.choices(script, k=length))
        return " ".join(seed.choices(self.vocabulary, cum_weights=self._weights, k=length))


@cache
def load_words() -> Words:
    """Return the words of the corpus of real mail; without it, generated ones."""
    if not _CORPUS.exists():
        print(f"{_CORPUS} is not there: the words are made up")
        return Words(_made_up())
    counts = Counter(_corpus())
    return Words([word for word, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))])


def _corpus() -> Iterator[str]:
    with tarfile.open(_CORPUS) as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isfile() else None
            if file is not None:
                yield from _WORD.findall((parse_raw(file.read()).text or "").lower())


def _made_up() -> list[str]:
    """Words by length: in every language the commonest ones are the shortest (Zipf's law of abbreviation)."""
    seed = random.Random(1)
    words = {"".join(seed.choices(_SYLLABLES, k=seed.randint(1, 4))) for _ in range(_GENERATED * 2)}
    return sorted(words, key=lambda word: (len(word), word))[:_GENERATED]
