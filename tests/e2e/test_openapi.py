"""The gateway keeps to its OpenAPI document for any request: `make fuzz` sends more."""

import os
from collections.abc import Callable
from dataclasses import replace

import pytest

from services.kit.scopes import OPERATOR_SCOPES, Scope
from tests.support.e2e.fuzzing import Caller, Fuzzer
from tests.support.e2e.people import Person
from tests.support.e2e.running_stack import RunningStack

REQUESTS = int(os.environ.get("FUZZ_REQUESTS", "500"))
SEED = int(os.environ.get("FUZZ_SEED", "1"))
# Operations that end the person, whom other operations need.
_LAST = ("DELETE /emails/addresses/{account_id}", "DELETE /mailboxes/{mailbox_id}", "DELETE /auth/me")

_SUCCEEDING = 20


@pytest.fixture
def ada(new_person: Callable[..., Person]) -> Caller:
    """A person with mail, and the ids of it."""
    person = new_person(messages=30)
    sync = person.sync()
    emails = person.emails()
    [with_files] = [person.get(f"/emails/{email['id']}").json() for email in emails if email["has_attachments"]][:1]
    page = person.get(f"/emails?user_email={person.email}&limit=3").json()
    return Caller(
        "ada",
        person.token,
        {
            "emails/{id}": [emails[0]["id"], with_files["id"]],
            "attachments/{attachment_id}": [with_files["attachments"][0]["id"]],
            "syncs/{id}": [sync["id"]],
            "threads/{id}": [emails[0]["thread_id"]],
            "addresses/{account_id}": [person.address()["account_id"]],
            "mailboxes/{mailbox_id}": [person.address()["account_id"]],
            "mailbox_id": [person.address()["account_id"]],
            "auth/{provider}": ["google"],
            "account_id": [person.address()["account_id"]],
            "user_email": [person.email],
            "email": [person.email],
            "cursor": ["", page["next_cursor"]],
            "label": ["INBOX", ""],
            "q": ["", "is:unread", "subject:("],
            "thread_id": ["", emails[0]["thread_id"]],
            "since": [""],
        },
    )


@pytest.fixture
def key(stack: RunningStack, ada: Caller) -> Caller:
    """An API key with all scopes of an application, for the same mail."""
    scopes = ",".join(sorted(set(Scope) - OPERATOR_SCOPES))
    return replace(ada, name="key", token=stack.api_key(f"--scopes={scopes}"))


@pytest.mark.timeout(max(600, REQUESTS // 5))
@pytest.mark.usefixtures("http")
def test_no_request_yields_a_server_error_or_an_undocumented_answer(
    stack: RunningStack, ada: Caller, key: Caller
) -> None:
    fuzzer = Fuzzer(stack.gateway_url, seed=SEED)
    try:
        fuzzer.run([Caller("nobody"), ada, key], at_least=REQUESTS, last=_LAST)
    finally:
        fuzzer.close()
    findings = fuzzer.findings
    print(f"seed {SEED}: {findings.requests} requests", *sorted(findings.statuses.items()), sep="\n")
    assert not findings.failures, str(findings)
    assert findings.requests >= REQUESTS
    # An operation that is only ever refused has no response to validate.
    assert len(findings.succeeded()) >= _SUCCEEDING
