"""Each RPC is retried by its callers, or is not for a reason."""

from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path

import pytest

from services.auth.rpc import CALLERS as AUTH_CALLERS
from services.gateway.clients import AUTH_RETRIED, MAIL_RETRIED
from services.mail.auth_client import RETRIED
from services.mail.rpc import CALLERS as MAIL_CALLERS

type Rpc = tuple[str, str]
type Channel = tuple[str, str]

GENERATED = Path(__file__).parents[2] / "protos/gen"
CALLERS = {**AUTH_CALLERS, **MAIL_CALLERS}
# By caller and package.
LISTS: dict[Channel, Sequence[Rpc]] = {
    ("gateway", "mailroom.auth.v1"): AUTH_RETRIED,
    ("gateway", "mailroom.mail.v1"): MAIL_RETRIED,
    ("mail", "mailroom.auth.v1"): RETRIED,
}
# RPCs of which a repeat does harm, and the reason: {("mailroom.mail.v1.SomeService", "SomeMethod"): "..."}.
NOT_RETRIED: dict[Rpc, str] = {
    ("mailroom.auth.v1.ApiKeyService", "CreateApiKey"): "a repeat makes a key that no one knows of",
    ("mailroom.auth.v1.ApplicationService", "CreateApplication"): "a repeat finds the name taken",
    ("mailroom.mail.v1.WebhookService", "CreateWebhook"): "a repeat makes a webhook whose secret no one knows",
    ("mailroom.mail.v1.WebhookService", "DeleteWebhook"): "a repeat finds none",
    ("mailroom.mail.v1.WebhookService", "RotateWebhookSecret"): "a repeat ends the secret that is in use",
    ("mailroom.mail.v1.WebhookService", "TestWebhook"): "a repeat sends another test",
}


def rpcs() -> Iterator[Rpc]:
    """All RPCs of the generated code, by service and method."""
    for path in sorted(GENERATED.rglob("*_pb2.py")):
        module = import_module(".".join(path.relative_to(GENERATED).with_suffix("").parts))
        for service in module.DESCRIPTOR.services_by_name.values():
            yield from ((service.full_name, method.name) for method in service.methods)


def expected(channel: Channel) -> set[Rpc]:
    """What a caller may call in a package."""
    caller, package = channel
    return {rpc for rpc in rpcs() if caller in CALLERS.get(rpc[0], ()) and rpc[0].rpartition(".")[0] == package}


class TestRpcs:
    def test_have_callers(self) -> None:
        assert {service for service, _ in rpcs()} == CALLERS.keys()

    def test_are_called_through_channels_with_a_list(self) -> None:
        channels = {(name, service.rpartition(".")[0]) for service, names in CALLERS.items() for name in names}
        assert channels == LISTS.keys()

    @pytest.mark.parametrize("channel", LISTS, ids=" to ".join)
    def test_are_retried_or_not_for_a_reason(self, channel: Channel) -> None:
        assert expected(channel) - set(LISTS[channel]) - NOT_RETRIED.keys() == set()


class TestLists:
    @pytest.mark.parametrize("channel", LISTS, ids=" to ".join)
    def test_name_each_rpc_of_the_caller_once_and_no_other(self, channel: Channel) -> None:
        listed = LISTS[channel]
        assert set(listed) - expected(channel) == set()
        assert len(listed) == len(set(listed))

    def test_give_a_reason_for_rpcs_that_exist_and_are_not_retried(self) -> None:
        retried = {rpc for listed in LISTS.values() for rpc in listed}
        assert NOT_RETRIED.keys() <= set(rpcs()) - retried
        assert all(NOT_RETRIED.values())
