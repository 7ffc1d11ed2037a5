"""Calls as people would write them do what the console does."""

import ast
import inspect
import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from mailroom_client import Mailroom

from services.console.gateway import calls
from services.console.gateway.calls import Call
from services.console.gateway.samples import as_curl, as_python

CALLS = [
    calls.get_usage(hours=24),
    calls.list_mailboxes(limit=5, cursor="c'"),
    calls.list_mailboxes(limit=5, status="active"),
    calls.get_mailbox("m"),
    calls.disconnect_mailbox("m"),
    calls.list_syncs("m", limit=1),
    calls.get_sync("s"),
    calls.start_sync("m", count="all"),
    calls.verify_mailbox("m"),
    calls.cancel_sync("s"),
    calls.retry_sync("s"),
    calls.list_emails("m", query='from:o\'neill "a b" $HOME `x`', limit=50, cursor=""),
    calls.get_email("../x"),
    calls.get_raw("e"),
    calls.get_attachment("e", "1/2"),
    calls.list_threads("m", limit=50, cursor=""),
    calls.get_thread("t", mailbox_id="m"),
    calls.list_labels("m"),
    calls.list_changes("m"),
    calls.list_changes("m", since="p", wait=25),
    calls.list_keys(),
    calls.create_key("Ада's", scopes=["mail.read"], expires_at=None),
    calls.revoke_key("k"),
    calls.list_key_events("k"),
    calls.list_audit_events(limit=50),
    calls.list_audit_events(limit=50, type_="signed_in", user_id="u", key_id="k", cursor="c"),
    calls.list_webhooks(),
    calls.get_webhook("w"),
    calls.create_webhook(
        "https://x/'", events=["sync.failed"], mailbox_ids=["m"], description="d", backfill=True, order="none"
    ),
    calls.update_webhook("w", url="https://x", events=[], mailbox_ids=None, description="", order="mailbox"),
    calls.update_webhook("w", url="https://x", events=[], mailbox_ids=["m"], description="", order="none"),
    calls.delete_webhook("w"),
    calls.rotate_webhook_secret("w", overlap_seconds=3600),
    calls.test_webhook("w"),
    calls.disable_webhook("w"),
    calls.enable_webhook("w"),
    calls.list_deliveries("w", state="parked", limit=25, cursor=""),
    calls.retry_delivery("w", "7"),
    calls.replay_webhook("w", since="p"),
    calls.start_connection("42", redirect_url="http://x/connect/done"),
    calls.complete_connection("c", "code"),
]


def test_every_call_of_the_console_is_looked_at() -> None:
    functions = inspect.getmembers(calls, inspect.isfunction)
    made = {name for name, each in functions if each.__module__ == calls.__name__ and not name.startswith("_")}
    assert {name for name in made if f"calls.{name}(" not in Path(__file__).read_text(encoding="utf-8")} == set()


@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call.method} {call.path}")
class TestCurl:
    def test_sends_what_the_console_sends(self, call: Call) -> None:
        words = shlex.split(as_curl(call, api="http://x").replace("\\\n", ""))
        assert words[0] == "curl"
        [url] = [word for word in words if word.startswith("http://")]
        assert url == f"http://x{call.path}"
        sent = [words[place + 1] for place, word in enumerate(words) if word == "--data-urlencode"]
        assert sent == [f"{name}={value}" for name, value in call.params.items()]
        bodies = [json.loads(words[place + 1]) for place, word in enumerate(words) if word == "-d"]
        assert bodies == ([] if call.body is None else [call.body])
        assert "Authorization: Bearer $KEY" in words


@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call.method} {call.path}")
class TestPython:
    def test_calls_what_the_client_has(self, call: Call) -> None:
        program = ast.parse(as_python([call], api="http://x"))
        with Mailroom("http://x", token="k") as mailroom:
            for node in ast.walk(program):
                if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("mailroom."):
                    function = _function(mailroom, node.func)
                    if function is not None:
                        arguments = [ast.literal_eval(each) for each in node.args]
                        named = {each.arg or "": ast.literal_eval(each.value) for each in node.keywords}
                        inspect.signature(function).bind(*arguments, **named)


def _function(mailroom: Mailroom, node: ast.expr) -> Callable[..., object] | None:
    """Return a function of the client, None for one of what it returns."""
    names = ast.unparse(node).split(".")[1:]
    if any("(" in name for name in names):
        return None
    found: object = mailroom
    for name in names:
        found = getattr(found, name)
    assert callable(found)
    return found


def test_ids_stay_within_their_place_in_a_path() -> None:
    assert calls.get_email("../keys?x#y").path == "/emails/..%2Fkeys%3Fx%23y"
