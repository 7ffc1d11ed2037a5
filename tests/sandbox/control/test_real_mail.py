"""Real mail, imported as files: `full` and `raw` of every message give the same model."""

import json
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from itertools import batched
from typing import Any

import pytest

from services.mail.content import ParsedMessage, parse_raw
from services.mail.content.mime.transfer import decode_base64
from services.mail.providers.gmail.payload import parse_gmail
from tests.support.mail.samples import differences, read_corpus
from tests.support.sandbox.mail_client import EMAIL, MailClient, open_mail_on_socket

Pair = tuple[str, ParsedMessage, ParsedMessage]


@pytest.fixture(scope="module")
def corpus() -> list[tuple[str, bytes]]:
    return read_corpus()


@pytest.fixture
async def mail() -> AsyncIterator[MailClient]:
    async with open_mail_on_socket() as client:
        yield client


async def test_full_and_raw_of_every_message_give_the_same_model(
    mail: MailClient, corpus: list[tuple[str, bytes]]
) -> None:
    names = {await _import_one(mail, data): name for name, data in corpus}
    compared = 0
    async for message_id, raw, full in _read_both_ways(mail, names):
        assert differences(raw, full) == {}, names[message_id]
        compared += 1
    assert compared == len(corpus)


async def test_an_mbox_of_all_of_it_keeps_every_byte(mail: MailClient, corpus: list[tuple[str, bytes]]) -> None:
    answer = await mail.http.post(f"/_sandbox/users/{EMAIL}/import", content=_mbox(data for _, data in corpus))
    ids = [message["id"] for message in answer.json()["messages"]]
    stored = Counter([await _raw_bytes(mail, id_) for id_ in ids])
    assert stored == Counter(_with_last_line_end(data) for _, data in corpus)


async def _import_one(mail: MailClient, data: bytes) -> str:
    # The envelope line would make the file an mbox.
    content = data.partition(b"\n")[2] if data.startswith(b"From ") else data
    answer = await mail.http.post(f"/_sandbox/users/{EMAIL}/import", content=content)
    [message] = answer.json()["messages"]
    return str(message["id"])


async def _read_both_ways(mail: MailClient, ids: Iterable[str]) -> AsyncIterator[Pair]:
    for some in batched(ids, 50, strict=False):
        raws = await _get_batch(mail, some, form="raw")
        fulls = await _get_batch(mail, some, form="full")
        for id_, raw, full in zip(some, raws, fulls, strict=True):
            yield id_, parse_raw(decode_base64(raw["raw"].encode())), await _parse_full(mail, full)


async def _get_batch(mail: MailClient, ids: Iterable[str], *, form: str) -> list[Any]:
    parts = await mail.batch([f"GET /gmail/v1/users/me/messages/{id_}?format={form}" for id_ in ids])
    assert {status for status, _ in parts} == {200}
    return [json.loads(text.split("\r\n\r\n", 2)[2]) for _, text in parts]


async def _parse_full(mail: MailClient, resource: dict[str, Any]) -> ParsedMessage:
    """Parse as the sync does: text parts that came by reference are fetched."""
    first = parse_gmail(resource)
    fetched = {part.part_id: await _attachment(mail, resource["id"], part.handle) for part in first.missing_parts}
    return parse_gmail(resource, fetched=fetched) if fetched else first


async def _attachment(mail: MailClient, message_id: str, attachment_id: str) -> bytes:
    body = await mail.json(f"messages/{message_id}/attachments/{attachment_id}")
    return decode_base64(body["data"].encode())


async def _raw_bytes(mail: MailClient, id_: str) -> bytes:
    return decode_base64((await mail.json(f"messages/{id_}?format=raw"))["raw"].encode())


def _mbox(messages: Iterable[bytes]) -> bytes:
    return b"".join(_mbox_entries(messages))


def _mbox_entries(messages: Iterable[bytes]) -> Iterator[bytes]:
    for data in messages:
        yield b"From somebody@example.com Thu Jan  1 00:00:00 1970\n"
        for line in _with_last_line_end(data).splitlines(keepends=True):
            yield b">" + line if line.lstrip(b">").startswith(b"From ") else line
        yield b"\n"


def _with_last_line_end(data: bytes) -> bytes:
    return data if data.endswith(b"\n") else data + b"\n"
