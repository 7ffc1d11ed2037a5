"""All kinds of calls that the Gmail adapters make, so that a test can have each of them fail alike."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
from prometheus_client import CollectorRegistry

from services.kit.observe.http_calls import CallObserver
from services.kit.observe.setup import Telemetry
from services.mail.content.model import MissingPart
from services.mail.providers.base import Get, PartialMessage
from services.mail.providers.errors import ProviderError
from services.mail.providers.gmail.adapter import GmailProvider
from services.mail.providers.gmail.downloads import GmailDownloads
from services.mail.providers.gmail.http.client import create_gmail_client
from services.mail.providers.gmail.http.deadlines import DEADLINES, Deadlines
from services.mail.providers.gmail.http.exchange import Exchange
from services.mail.providers.gmail.limits import GMAIL_COSTS

TOKEN = "ya29.token"
COSTS = GMAIL_COSTS["2026-05"]
MESSAGE = Get(external_ids=("m",), thread_id=None, units=COSTS.fetch)
THREAD = Get(external_ids=("m", "n", "o"), thread_id="t", units=40)
PARTIAL = PartialMessage(
    external_id="m", units=COSTS.attachment, source=({}, (MissingPart("0", "a", "text/plain", 9),))
)


@dataclass(frozen=True)
class GmailAdapters:
    """The adapters of one server, with and without batches."""

    provider: GmailProvider
    batching: GmailProvider
    downloads: GmailDownloads


def adapters_over(
    http: httpx.AsyncClient,
    url: str,
    *,
    deadlines: Deadlines = DEADLINES,
    monotonic: Callable[[], float] = time.monotonic,
) -> GmailAdapters:
    """The adapters of the server at `url`."""
    provider, batching = (
        GmailProvider(
            http,
            api_url=url,
            batch_url=batch_url,
            costs=COSTS,
            push_topic="projects/p/topics/t",
            deadlines=deadlines,
            monotonic=monotonic,
        )
        for batch_url in (None, f"{url}/batch")
    )
    exchange = Exchange(http, deadlines=deadlines, monotonic=monotonic)
    return GmailAdapters(provider, batching, GmailDownloads(exchange, api_url=url, costs=COSTS))


@asynccontextmanager
async def gmail_adapters(url: str, *, deadlines: Deadlines = DEADLINES) -> AsyncIterator[GmailAdapters]:
    """The adapters over the client that the services use."""
    observer = CallObserver(Telemetry(CollectorRegistry()))
    async with create_gmail_client(observer=observer, deadlines=deadlines) as http:
        yield adapters_over(http, url, deadlines=deadlines)


@asynccontextmanager
async def gmail_that_answers(
    answer: Callable[[httpx.Request], httpx.Response], *, monotonic: Callable[[], float] = time.monotonic
) -> AsyncIterator[GmailAdapters]:
    """The adapters of a Gmail that answers so, without a network."""
    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        yield adapters_over(http, "http://gmail.example", monotonic=monotonic)


@dataclass(frozen=True)
class GmailCall:
    """One kind of call. `within` names its deadline; `changes` says that it changes something at the provider."""

    name: str
    within: str
    make: Callable[[GmailAdapters], Awaitable[object]]
    changes: bool = False

    def __str__(self) -> str:
        return self.name


async def _fetch(provider: GmailProvider, get: Get) -> object:
    """What a fetch brings; the error that it brings is raised."""
    found = (await provider.fetch(TOKEN, [get]))["m"]
    if isinstance(found, ProviderError):
        raise found
    return found


async def _drop(data: bytes) -> None:
    del data


CALLS = [
    GmailCall("profile", "small", lambda at: at.provider.profile(TOKEN)),
    GmailCall("labels", "small", lambda at: at.provider.list_labels(TOKEN)),
    GmailCall("send as", "small", lambda at: at.provider.list_send_as(TOKEN)),
    GmailCall(
        "list",
        "small",
        lambda at: at.provider.list_ids(TOKEN, page_token=None, page_size=9, include_spam_trash=True),
    ),
    GmailCall("history", "small", lambda at: at.provider.list_changes(TOKEN, cursor=1, page_token=None)),
    GmailCall("watch", "small", lambda at: at.provider.watch(TOKEN), changes=True),
    GmailCall("stop", "small", lambda at: at.provider.stop(TOKEN), changes=True),
    GmailCall("version", "get", lambda at: at.provider.version(TOKEN, "m")),
    GmailCall("message", "get", lambda at: _fetch(at.provider, MESSAGE)),
    GmailCall("thread", "get", lambda at: _fetch(at.provider, THREAD)),
    GmailCall("attachment", "get", lambda at: at.provider.complete(TOKEN, PARTIAL)),
    GmailCall("raw", "get", lambda at: at.downloads.copy_raw(TOKEN, "m", _drop)),
    GmailCall("part", "get", lambda at: at.downloads.copy_part(TOKEN, "m", "1", _drop)),
    GmailCall("batch", "batch", lambda at: _fetch(at.batching, MESSAGE)),
]
