"""Users who read and start syncs while services die."""

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
        """Request a full sync of each mailbox, then read and request at random until `stop` is set."""
        with self._http:
            waiting = list(self._people)
            while waiting and not stop.is_set():
                # As a client does, repeat requests that fail while mail is down.
                waiting = [person for person in waiting if not self._ask(person, stop)]
            while not stop.wait(_PAUSE):
                person = self._random.choice(self._people)
                if self._random.random() < 0.3:
                    self._ask(person, stop)
                else:
                    self._count(person.get(f"/emails?user_email={person.email}&limit=20"))

    def _ask(self, person: Person, stop: threading.Event) -> bool:
        answer = person.post("/emails/sync", {"email": person.email, "count": "all"})
        self._count(answer)
        if not answer.is_success:
            stop.wait(_PAUSE)
        return answer.is_success

    def _count(self, answer: httpx.Response) -> None:
        self.done[answer.status_code] += 1
