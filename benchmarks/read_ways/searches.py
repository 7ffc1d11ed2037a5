"""Searches of the large mailbox through the gateway."""

import asyncio
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from urllib.parse import urlencode

from benchmarks.read_ways.stage import Stage
from benchmarks.read_ways.traffic import Request, Times, ask
from benchmarks.read_ways.words import Words
from tests.support.e2e.people import Person

P50_MS, MAX_MS = 20.0, 100.0
_EACH = 60
_DEEP_PAGE = 1000
_LARGEST = 200
# Some of these phrases have no pair of short words: each message with the words is examined, see docs/search.md.
_RARE_PHRASES, _RARE_PHRASES_P50_MS = "phrase of three very common words", 50.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A kind of search with its times, and whether they are within the limits."""

    kind: str
    times: Times

    @property
    def fits(self) -> bool:
        """Whether median and maximum are within the claimed limits, if any."""
        if self.kind == _RARE_PHRASES:
            return self.times.percentile(50) < _RARE_PHRASES_P50_MS
        return self.times.percentile(50) < P50_MS and self.times.percentile(100) < MAX_MS


def measure(stage: Stage, words: Words) -> list[Found]:
    """Run all kinds of searches in the first person's mailbox, one request at a time."""
    person = stage.people[0]
    results = [_measure(stage, person, kind, queries) for kind, queries in _queries(words).items()]
    results += [_measure_pages(stage, person)]
    middle = stage.people[1]
    results += [_measure(stage, middle, "body word, 10k mailbox", list(islice(_rare(words), _EACH)))]
    return results


def _measure(stage: Stage, person: Person, kind: str, queries: list[str]) -> Found:
    paths = [f"/emails?{urlencode({'user_email': person.email, 'q': query})}" for query in queries]
    requests = [Request(path=path, token=person.token) for path in islice(cycle(paths), _EACH)]
    return _found(stage, kind, requests)


def _found(stage: Stage, kind: str, requests: list[Request]) -> Found:
    # The first run is not measured: a mailbox in use has its pages in the server's memory.
    asyncio.run(ask(stage.stack.gateway_url, requests, connections=1))
    found = Found(kind=kind, times=asyncio.run(ask(stage.stack.gateway_url, requests, connections=1)))
    figures = {f"{name}_ms": round(found.times.percentile(of), 2) for name, of in (("p50", 50), ("max", 100))}
    print(json.dumps({"search": kind, **figures, "fits": found.fits}), flush=True)
    return found


def _measure_pages(stage: Stage, person: Person) -> Found:
    """Measure the page after the thousandth page of 50, of a list of the whole mailbox."""
    query: dict[str, str | int] = {"user_email": person.email, "limit": _LARGEST}
    for _ in range((_DEEP_PAGE - 1) * 50 // _LARGEST):
        cursor = person.get(f"/emails?{urlencode(query)}").json()["next_cursor"]
        if cursor is None:
            break
        query["cursor"] = cursor
    path = f"/emails?{urlencode({**query, 'limit': 50})}"
    return _found(stage, f"page {_DEEP_PAGE}", [Request(path=path, token=person.token)] * _EACH)


def _queries(words: Words) -> Mapping[str, list[str]]:
    """Return kinds of queries; their words are from the vocabulary of the generated mail."""
    ranked = words.vocabulary
    seed = random.Random(5)
    very, common, medium = ranked[:5], ranked[10:40], ranked[500:1500]
    pairs = [f"{seed.choice(common)} {seed.choice(medium)}" for _ in range(_EACH)]
    return {
        "first page of the list": [""],
        "common word": list(common),
        "medium word": seed.sample(list(medium), min(_EACH, len(medium))),
        "rare word": list(islice(_rare(words), _EACH)),
        "absent word": [f"xq{number}zz" for number in range(_EACH)],
        "absent here, common elsewhere": ["reader-7", "from:reader-8@example.com", "to:reader-9"],
        "two words": pairs,
        "two very common words": [f"{first} {second}" for first in very for second in very if first != second],
        "one OR another": [f"{seed.choice(medium)} OR {seed.choice(medium)}" for _ in range(_EACH)],
        "without a common word": [f"-{word}" for word in common],
        "without a very common word": [f"-{word}" for word in very],
        "word without another": [f"{seed.choice(medium)} -{seed.choice(common)}" for _ in range(_EACH)],
        "phrase": [f'"{seed.choice(common)} {seed.choice(medium)}"' for _ in range(_EACH)],
        "phrase of very common words": [f'"{first} {second}"' for first in very for second in very],
        _RARE_PHRASES: [f'"{first} {second} {third}"' for first, second, third in _triples(very)],
        "beginning of a word": [f"{word[:4]}*" for word in medium[:_EACH]],
        "operators": [f"subject:{word} is:unread has:attachment" for word in common],
        "operators, few match": [f"subject:{word} is:starred larger:50k label:folder-3" for word in medium[:30]],
        "operators without words": [
            "is:starred has:attachment",
            "in:spam larger:1M",
            "is:unread -in:inbox label:folder-1",
        ],
        "sender and label": [f"from:{word} in:inbox" for word in medium[:30]],
        "dates": [f"{word} after:2023-01-01 before:2023-03-01" for word in common],
        "old": [f"{word} older_than:4y" for word in common],
        "CJK": ["会議", "請求書", "東京 会議", '"お願いします"', "東"],
        "Cyrillic": ["счёт", "встреча завтра", "договор"],
    }


def _rare(words: Words) -> Iterator[str]:
    return (word for word in reversed(words.vocabulary) if word.isalpha())


def _triples(words: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    return ((first, second, third) for first in words for second in words[:2] for third in words[:3])
