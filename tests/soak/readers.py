"""Users who read, start syncs and verify while services die."""

import random
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import httpx

from tests.support.e2e.people import Person

_PAUSE = 0.4


class Readers:
    """Counts the gateway's responses by status."""

    def __init__(self, gateway_url: str, people: Sequence[Person], *, seed: int) -> None:
        self.done: Counter[int] = Counter()
        self._http = httpx.Client(base_url=gateway_url, trust_env=False, timeout=60)
        self._people = [replace(person, http=self._http) for person in people]
        self._random = random.Random(seed)

    def run(self, stop: threading.Event) -> None:
        """Request a full sync and a verification of each mailbox, then read and request at random until `stop` is set.

        A verification lists the whole mailbox: the faults of listings strike it.
        """
        with self._http:
            for ask in (self._sync, self._verify):
                waiting = list(self._people)
                while waiting and not stop.is_set():
                    # As a client does, repeat requests that fail while mail is down.
                    waiting = [person for person in waiting if not ask(person, stop)]
            while not stop.wait(_PAUSE):
                person, chance = self._random.choice(self._people), self._random.random()
                if chance < 0.2:
                    self._sync(person, stop)
                elif chance < 0.3:
                    self._verify(person, stop)
                else:
                    self._count(person.get(f"/emails?user_email={person.email}&limit=20"))

    def _sync(self, person: Person, stop: threading.Event) -> bool:
        return self._ask(person, "/emails/sync", stop, count="all")

    def _verify(self, person: Person, stop: threading.Event) -> bool:
        return self._ask(person, "/emails/verify", stop)

    def _ask(self, person: Person, path: str, stop: threading.Event, **fields: str) -> bool:
        answer = person.post(path, {"email": person.email, **fields})
        self._count(answer)
        if not answer.is_success:
            stop.wait(_PAUSE)
        return answer.is_success

    def _count(self, answer: httpx.Response) -> None:
        self.done[answer.status_code] += 1
