"""A soak: the whole stack under live traffic, every fault and kill -9, then a comparison with the provider."""

import json
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx

from deploy.local import placement
from deploy.local.postgres import Database, EmbeddedPostgres
from services.sandbox.imap.profiles import MODERN, YANDEX, Profile
from tests.soak import checker
from tests.soak.checker import ProviderAccount, Verdict
from tests.soak.kills import Killer
from tests.soak.message_ids import MessageIds
from tests.soak.plan import (
    IMAP_CONNECTIONS,
    INDEX_LAG,
    LEASE_SECONDS,
    MOST_SILENT,
    POLL_SECONDS,
    SHORT_LIST_EVERY,
    STRIKES,
    FaultRules,
    SoakPlan,
    name_of,
)
from tests.soak.readers import Readers
from tests.soak.silence import Silence
from tests.soak.terms import GmailTerms, ImapTerms
from tests.soak.traffic import Traffic
from tests.support.e2e.modern_server import NAME as MODERN_NAME
from tests.support.e2e.modern_server import modern_server
from tests.support.e2e.people import Person, Provider
from tests.support.e2e.running_stack import RunningStack, running_stack


@dataclass(frozen=True, slots=True, kw_only=True)
class SoakReport:
    """Events and results of a soak."""

    plan: SoakPlan
    traffic: Counter[str]
    # Responses to readers by status.
    answers: Counter[int]
    faults: Counter[str]
    kills: Counter[str]
    verdict: Verdict
    # Messages whose ids in the copy changed, or that have left a thread other than by its merge.
    changed_ids: list[str]
    # The most connections of each mailbox over IMAP.
    connections: dict[str, int]
    rejected_calls: int
    units: int
    # Most units that one mailbox spent in a window, as a share of the limit.
    peak_use: float
    failed_syncs: list[str]
    # Seconds without progress or a reason by mailbox: the longest of each.
    longest_silence: dict[str, float]
    # Services that ended without a kill.
    ended: list[str]

    @property
    def failures(self) -> dict[str, Any]:
        """The reasons for which a soak fails; empty if it passed."""
        failures = {
            **self.verdict.differences,
            "faults that never fired": sorted(self.plan.fault_kinds - self.faults.keys()),
            "kills that never happened": sorted(STRIKES - self.kills.keys()),
            "messages whose ids changed, or threads whose ids lead elsewhere": self.changed_ids,
            "too many connections": {
                address: most for address, most in self.connections.items() if most > IMAP_CONNECTIONS
            },
            "calls rejected for quota": self.rejected_calls,
            "syncs that did not end well": self.failed_syncs,
            "mailboxes that were silent": {
                address: seconds for address, seconds in self.longest_silence.items() if seconds > MOST_SILENT
            },
            "services that ended by themselves": self.ended,
            "answers that tell of a defect": {
                status: count for status, count in self.answers.items() if status >= 500 and status not in (503, 504)
            },
        }
        return {what: found for what, found in failures.items() if found}

    def as_json(self) -> str:
        """The report as one line."""
        facts = {
            **asdict(self.plan),
            "traffic": self.traffic,
            "answers": self.answers,
            "faults": self.faults,
            "kills": self.kills,
            "compared_messages": self.verdict.messages,
            **{
                kind: len(getattr(self.verdict, kind))
                for kind in ("lost", "extra", "duplicated", "labels", "contents", "label_names", "threads")
            },
            "changed_ids": len(self.changed_ids),
            "most_connections": max(self.connections.values(), default=0),
            "longest_silence": round(max(self.longest_silence.values(), default=0.0), 1),
            "units": self.units,
            "peak_use": round(self.peak_use, 3),
            "rejected_calls": self.rejected_calls,
        }
        return json.dumps(facts)


def soak(plan: SoakPlan, *, logs: Path | None = None) -> SoakReport:
    """Run a separate stack through the plan. Its logs are copied to `logs` after a failure."""
    home = Path(tempfile.mkdtemp(prefix="mailroom-soak-"))
    try:
        with (
            modern_server(home) as variables,
            running_stack(
                home,
                more_workers=plan.workers - 1,
                own_servers=True,
                SANDBOX_USERS="",
                SANDBOX_QUOTA_WINDOW=str(plan.quota_window),
                SANDBOX_QUOTA_KIND="sliding",
                GMAIL_QUOTA_WINDOW=str(plan.quota_window),
                MAIL_POLL_SECONDS=str(POLL_SECONDS),
                WORKER_LEASE_SECONDS=str(LEASE_SECONDS),
                IMAP_LOGIN_WINDOW=str(plan.quota_window),
                **variables,
            ) as stack,
        ):
            report = _Soak(stack, plan, home=home).run()
        if report.failures and logs is not None:
            _keep_logs(home, logs)
        return report
    except BaseException:
        if logs is not None:
            _keep_logs(home, logs)
        raise
    finally:
        placement.remove(home)
        shutil.rmtree(home, ignore_errors=True)


def _keep_logs(home: Path, logs: Path) -> None:
    logs.mkdir(parents=True, exist_ok=True)
    for log in (*home.glob("*.log"), *(home / "logs").glob("*.log")):
        shutil.copy(log, logs)


@dataclass(frozen=True, slots=True)
class _OverImap:
    """A person whose mailbox is at an IMAP server."""

    person: Person
    profile: Profile


@dataclass(frozen=True, slots=True, kw_only=True)
class _Storm:
    """Everything that happens at once."""

    traffic: Traffic
    readers: Readers
    silence: Silence
    message_ids: MessageIds
    killer: Killer


class _Soak:
    def __init__(self, stack: RunningStack, plan: SoakPlan, *, home: Path) -> None:
        self._stack = stack
        self._plan = plan
        self._home = home

    def run(self) -> SoakReport:
        plan = self._plan
        with ExitStack() as closes:
            control = closes.enter_context(closing(Provider(self._stack.sandbox_url)))
            account = closes.enter_context(closing(ProviderAccount(self._stack.sandbox_url)))
            http = closes.enter_context(httpx.Client(base_url=self._stack.gateway_url, trust_env=False, timeout=90))
            people = [self._connect(http, control, number) for number in range(plan.mailboxes)]
            over_imap = [self._connect_imap(http, control, number) for number in range(plan.imap_mailboxes)]
            people += [connected.person for connected in over_imap]
            before = {person.email: account.labels(person.email) for person in people}
            folders = {each.person.email: self._name_folders(control, each.person.email) for each in over_imap}
            terms = {person.email: GmailTerms() for person in people}
            terms |= {each.person.email: ImapTerms(each.profile) for each in over_imap}
            start = max((event["seq"] for event in account.log()), default=0)
            control.put("/faults", **FaultRules(seed=plan.seed).body())
            storm = self._storm(control, people, before, folders)
            faults = self._end_faults(control, people)
            failed = self._await_current(people)
            expected = checker.replay(before, account.log(start))
            self._trust(expected, account)
            storm.message_ids.look()
            names = storm.traffic.label_names
            verdict = checker.check(
                expected,
                account,
                dsn=self._dsn(),
                terms=terms,
                label_names=names,
                linked_threads=storm.traffic.linked_threads,
            )
            verdict.label_names += checker.differing_label_names(names, dsn=self._dsn(), terms=terms)
            for address in verdict.addresses:
                lines = checker.evidence(address, account, dsn=self._dsn())
                (self._home / f"{address}.log").write_text("\n".join(lines))
            quota = account.get("/calls")["quota"]
            meters = quota["users"].values()
            return SoakReport(
                plan=plan,
                traffic=storm.traffic.done,
                answers=storm.readers.done,
                faults=faults,
                kills=storm.killer.done,
                verdict=verdict,
                changed_ids=sorted(storm.message_ids.changed),
                connections={
                    address: facts["most_connections"] for address, facts in account.get("/imap")["accounts"].items()
                },
                rejected_calls=sum(meter["rejected"] for meter in meters),
                units=sum(meter["units"] for meter in meters),
                peak_use=max(meter["peak_sliding_window"] for meter in meters) / quota["limits"]["per_user"],
                failed_syncs=failed,
                longest_silence=storm.silence.longest,
                ended=self._stack.ended(),
            )

    def _connect(self, http: httpx.Client, control: Provider, number: int) -> Person:
        email = control.new_user(messages=self._plan.messages, email=f"user-{number}@example.com", seed=number)
        match number % 4:
            case 1:
                control.put(f"/users/{email}/settings", extra_fields=True, empty_arrays=True)
            case 2:
                control.put(f"/users/{email}/mailbox", history_id=str(2**70), empty_page_every=3)
            case 3:
                control.put(f"/users/{email}/mailbox", index_lag=INDEX_LAG, short_list_every=SHORT_LIST_EVERY)
        return Person.sign_in(http, email)

    def _connect_imap(self, http: httpx.Client, control: Provider, number: int) -> _OverImap:
        email = control.new_user(messages=self._plan.messages, email=f"imap-{number}@example.com", seed=1_000 + number)
        name, profile = (MODERN_NAME, MODERN) if number % 2 else ("yandex", YANDEX)
        return _OverImap(Person.sign_in(http, email, provider=name), profile)

    @staticmethod
    def _name_folders(control: Provider, email: str) -> dict[str, str]:
        """Give the user's generated folders names that are known here; return them by id."""
        folders = [folder["id"] for folder in control.get(f"/users/{email}/folders")["folders"]]
        names = {folder: f"folder {folder}" for folder in folders if folder.startswith("Label_")}
        for label, name in names.items():
            control.patch(f"/users/{email}/labels/{label}", name=name)
        return names

    def _storm(
        self,
        control: Provider,
        people: list[Person],
        before: Mapping[str, checker.Labels],
        folders: Mapping[str, Mapping[str, str]],
    ) -> _Storm:
        plan, stop = self._plan, threading.Event()
        mailboxes = {email: sorted(labels) for email, labels in before.items()}
        url = f"{self._stack.sandbox_url}/_sandbox"
        workers = ["worker", *(f"worker-{number}" for number in range(2, 1 + plan.workers))]
        storm = _Storm(
            traffic=Traffic(
                url,
                mailboxes,
                folders=folders,
                seed=plan.seed,
                rate=plan.operations,
            ),
            readers=Readers(self._stack.gateway_url, people, seed=plan.seed),
            silence=Silence(self._dsn()),
            message_ids=MessageIds(self._dsn()),
            killer=Killer(self._stack, workers=workers, seed=plan.seed, calm=plan.calm),
        )
        beside = (storm.traffic, storm.readers, storm.silence, storm.message_ids)
        with ThreadPoolExecutor() as threads:
            running = [threads.submit(each.run, stop) for each in beside]
            try:
                storm.killer.run(plan.seconds, failed=lambda: any(future.done() for future in running))
                self._await_faults(control, people, failed=lambda: any(future.done() for future in running))
            finally:
                stop.set()
            for future in running:
                future.result()
        return storm

    def _await_faults(self, control: Provider, people: Sequence[Person], *, failed: Callable[[], bool]) -> None:
        """Go on without kills until each kind of fault has occurred: on a busy machine few calls are made."""
        end = time.monotonic() + self._plan.patience
        while time.monotonic() < end and not failed():
            if self._plan.fault_kinds <= self._faults(control, people).keys():
                return
            time.sleep(1)

    @staticmethod
    def _faults(control: Provider, people: Sequence[Person]) -> Counter[str]:
        """Return how often each kind of fault has struck."""
        fired: Counter[str] = Counter()
        for rule in control.get("/faults")["rules"]:
            fired[name_of(rule)] += rule["fired"]
        for person in people:
            fired.update(control.get(f"/users/{person.email}/mailbox")["struck"])
        return +fired

    def _end_faults(self, control: Provider, people: Sequence[Person]) -> Counter[str]:
        """End all faults; return how often each kind has struck."""
        fired = self._faults(control, people)
        control.end_faults()
        for person in people:
            control.put(f"/users/{person.email}/mailbox")
        return fired

    def _await_current(self, people: Sequence[Person]) -> list[str]:
        """Sync everything once more, when all folders are known. Returns a description of each sync that failed."""
        # A sync that began in the storm need not look at what came later, as the deletion of a folder.
        if bad := self._await_syncs(people) or self._await_syncs(people) or self._await_folders():
            return bad
        checker.let_marks_be_due(dsn=self._dsn())
        return self._await_syncs(people)

    def _await_folders(self) -> list[str]:
        """Wait until no folder is missing or fails; return those that still are."""
        end = time.monotonic() + 2 * self._plan.patience
        while (unsettled := checker.unsettled_folders(dsn=self._dsn())) and time.monotonic() < end:
            time.sleep(1)
        return unsettled

    def _await_syncs(self, people: Sequence[Person]) -> list[str]:
        """Start a sync of each mailbox, or await the one under way. Returns a description of each that failed."""
        syncs = {person.email: (person, person.start_sync("all")) for person in people}
        bad = []
        end = time.monotonic() + self._plan.patience
        for email, (person, sync) in syncs.items():
            is_last = False
            while sync["state"] in ("queued", "running") and not is_last:
                is_last = time.monotonic() >= end
                answer = person.get(f"/emails/syncs/{sync['id']}", Prefer="wait=10")
                sync = answer.json() if answer.is_success else sync
            if sync["state"] == "completed" and not sync["dead_letter_count"]:
                # The others have had no less time: on a busy machine all of them together take long.
                end = max(end, time.monotonic() + self._plan.patience / 2)
            else:
                bad.append(f"{json.dumps(sync)} {checker.describe(email, dsn=self._dsn())}")
        return bad

    @staticmethod
    def _trust(expected: dict[str, checker.Labels], account: ProviderAccount) -> None:
        for address, labels in expected.items():
            if labels != account.labels(address):
                raise AssertionError(f"the sandbox's log does not add up to the mailbox of {address}")

    def _dsn(self) -> str:
        server = self._stack.servers["postgres"]
        assert isinstance(server, EmbeddedPostgres)
        variables = self._stack.variables
        name = variables.get("MAIL_POSTGRES_DB") or f"{variables['POSTGRES_DB']}_mail"
        return Database(server=server.address, name=name).dsn
