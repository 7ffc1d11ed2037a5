"""Raw messages and attachments through the whole stack, and the memory that a large one takes in each process."""

import base64
import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.e2e.people import Person, Provider

MEGABYTE = 1 << 20
LARGE = 25 * MEGABYTE
HTML = (
    '<p onclick="steal()">Hello <b>you</b></p><img src="cid:logo@x"><img src="https://evil.example/pixel.gif">'
    '<script>steal()</script><form action="https://evil.example"><input name="password"></form>'
)
PICTURE = bytes(range(256)) * 20


def message(attachment: bytes, *, name: str = "data.bin") -> bytes:
    """Make a message with HTML, an embedded picture and an attachment."""
    parts = [
        b"Content-Type: text/html; charset=utf-8\r\n\r\n" + HTML.encode(),
        b"Content-Type: image/png\r\nContent-ID: <logo@x>\r\nContent-Disposition: inline\r\n"
        b"Content-Transfer-Encoding: base64\r\n\r\n" + base64.encodebytes(PICTURE),
        b"Content-Type: text/html\r\nContent-Disposition: attachment; filename=%s\r\n" % name.encode()
        + b"Content-Transfer-Encoding: base64\r\n\r\n"
        + base64.encodebytes(attachment),
    ]
    head = b"From: bob@example.net\r\nSubject: files\r\nMIME-Version: 1.0\r\n"
    head += b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
    return head + b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + b"--b--\r\n"


def received(person: Person, provider: Provider, raw: bytes) -> dict[str, Any]:
    """Deliver one message, sync, and return it in full."""
    provider._http.post(f"/users/{person.email}/import", content=raw).raise_for_status()
    person.sync()
    [email] = person.emails()
    return dict(person.get(f"/emails/{email['id']}").json())


@contextmanager
def growth(pids: Mapping[str, int]) -> Iterator[dict[str, int]]:
    """Measure by how many bytes the resident memory of processes grew at most while the block ran."""
    before = {}
    for name, pid in pids.items():
        # 5 resets the peak to the current size (proc_pid_clear_refs(5)).
        Path(f"/proc/{pid}/clear_refs").write_text("5")
        before[name] = _kilobytes(pid, "VmRSS")
    grown: dict[str, int] = {}
    yield grown
    grown |= {name: (_kilobytes(pid, "VmHWM") - before[name]) * 1024 for name, pid in pids.items()}


def _kilobytes(pid: int, field: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


class TestMessage:
    def test_shows_html_that_is_safe_and_pictures_that_can_be_fetched(
        self, new_person: Callable[..., Person], provider: Provider
    ) -> None:
        person = new_person()
        email = received(person, provider, message(b"x"))
        picture, _ = email["attachments"]
        path = f"/emails/{email['id']}/attachments/{picture['id']}"
        assert email["html"].strip() == f'<p>Hello <b>you</b></p><img src="{path}"><img>'
        answer = person.get(path)
        assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, PICTURE, "image/png")


class TestDownload:
    def test_of_a_raw_message_equals_the_providers_bytes(
        self, new_person: Callable[..., Person], provider: Provider
    ) -> None:
        person = new_person(messages=5)
        person.sync()
        for email in person.emails():
            answer = person.get(f"/emails/{email['id']}/raw")
            assert (answer.status_code, answer.headers["content-type"]) == (200, "message/rfc822")
            truth = provider._http.get(f"/users/{person.email}/messages/{email['external_id']}/raw")
            assert answer.content == truth.content

    def test_can_be_resumed_and_is_not_repeated(self, new_person: Callable[..., Person], provider: Provider) -> None:
        person = new_person()
        data = hashlib.sha256(b"seed").digest() * 10_000
        email = received(person, provider, message(data, name="page.html"))
        path = f"/emails/{email['id']}/attachments/{email['attachments'][1]['id']}"
        whole = person.get(path)
        assert (whole.status_code, whole.content) == (200, data)
        assert whole.headers["content-type"] == "application/octet-stream"
        assert whole.headers["content-disposition"] == 'attachment; filename="page.html"'
        etag = whole.headers["etag"]
        rest = person.get(path, **{"Range": "bytes=1000-", "If-Range": etag})
        assert (rest.status_code, rest.content) == (206, data[1000:])
        assert rest.headers["content-range"] == f"bytes 1000-{len(data) - 1}/{len(data)}"
        assert person.get(path, Range="bytes=-5").content == data[-5:]
        assert person.get(path, Range=f"bytes={len(data)}-").status_code == 416
        assert person.get(path, **{"If-None-Match": etag}).status_code == 304

    def test_of_another_user_does_not_exist(self, new_person: Callable[..., Person], provider: Provider) -> None:
        owner, other = new_person(), new_person()
        email = received(owner, provider, message(b"x"))
        for path in (f"/emails/{email['id']}/raw", f"/emails/{email['id']}/attachments/1"):
            assert owner.get(path).status_code == 200
            answer = other.get(path)
            assert (answer.status_code, answer.json()["code"]) == (404, "message_not_found")
        assert owner.get(f"/emails/{email['id']}/attachments/7").json()["code"] == "attachment_not_found"

    def test_while_the_provider_is_down_is_503(self, new_person: Callable[..., Person], provider: Provider) -> None:
        person = new_person()
        email = received(person, provider, message(b"x"))
        provider.plan_faults({"method": "gmail.messages.get", "kind": "html_503", "user": person.email})
        answer = person.get(f"/emails/{email['id']}/raw")
        assert (answer.status_code, answer.json()["code"]) == (503, "provider_unavailable")

    def test_of_25_megabytes_takes_no_process_three_times_as_much(
        self, stack: Any, new_person: Callable[..., Person], provider: Provider
    ) -> None:
        person = new_person()
        data = hashlib.sha256(b"seed").digest() * (LARGE // 32)
        email = received(person, provider, message(data))
        path = f"/emails/{email['id']}/attachments/{email['attachments'][1]['id']}"
        # A first download loads modules and allocates buffers once.
        assert person.get(f"/emails/{email['id']}/attachments/{email['attachments'][0]['id']}").status_code == 200
        pids = {name: stack.pid(name) for name in ("gateway", "mail", "auth", "worker")}
        with growth(pids) as grown:
            digest, length = _streamed(person, path)
            _, raw_length = _streamed(person, f"/emails/{email['id']}/raw")
        print({name: f"{size / MEGABYTE:.1f} MB" for name, size in grown.items()})
        assert (digest, length) == (hashlib.sha256(data).hexdigest(), LARGE)
        assert raw_length > LARGE * 4 / 3
        assert max(grown.values()) <= 3 * LARGE


def _streamed(person: Person, path: str) -> tuple[str, int]:
    digest, length = hashlib.sha256(), 0
    with person.http.stream("GET", path, headers={"Authorization": f"Bearer {person.token}"}) as answer:
        assert answer.status_code == httpx.codes.OK
        for piece in answer.iter_bytes():
            digest.update(piece)
            length += len(piece)
    return digest.hexdigest(), length


@pytest.mark.parametrize("identifier", ["x", "%00", "9" * 500])
def test_of_unknown_messages_do_not_exist(new_person: Callable[..., Person], identifier: str) -> None:
    person = new_person()
    for path in (f"/emails/{identifier}/raw", f"/emails/{identifier}/attachments/0"):
        answer = person.get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "message_not_found")
