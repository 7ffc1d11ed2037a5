"""The API over HTTP: credentials, refusals, compression, batches, and messages that deviate from Google's."""

import base64
import gzip
import json
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.support.sandbox.mail_client import EMAIL, MailClient, open_mail, reason, split_answers

PROFILE = "/gmail/v1/users/me/profile"


@pytest.fixture
async def mail() -> AsyncIterator[MailClient]:
    async with open_mail(3) as client:
        yield client


class TestCredentials:
    async def test_no_token_is_login_required(self, mail: MailClient) -> None:
        answer = await mail.http.get(PROFILE)
        assert reason(answer) == (401, "required")
        assert answer.json()["error"]["details"][0]["reason"] == "CREDENTIALS_MISSING"
        assert "Bearer" in answer.headers["www-authenticate"]

    async def test_a_bad_token_is_an_auth_error(self, mail: MailClient) -> None:
        answer = await mail.http.get(PROFILE, headers={"Authorization": "Bearer nonsense"})
        assert reason(answer) == (401, "authError")
        assert answer.json()["error"]["errors"][0]["message"] == "Invalid Credentials"

    async def test_the_token_may_be_in_the_query(self, mail: MailClient) -> None:
        assert (await mail.http.get(f"{PROFILE}?access_token={mail.token}")).status_code == 200


class TestRefusals:
    async def test_an_unknown_parameter_is_named(self, mail: MailClient) -> None:
        answer = await mail.get("messages?max_results=5")
        assert reason(answer) == (400, "invalidArgument")
        assert 'Unknown name "max_results"' in answer.json()["error"]["message"]

    async def test_common_parameters_are_tolerated(self, mail: MailClient) -> None:
        assert (await mail.get("messages?prettyPrint=false&alt=json&quotaUser=x&key=k&$.xgafv=2")).status_code == 200

    @pytest.mark.parametrize("path", ["nothing", "messages/1/2/3/4"])
    async def test_unknown_paths_are_404_in_html(self, mail: MailClient, path: str) -> None:
        answer = await mail.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (404, "text/html; charset=UTF-8")

    async def test_the_old_shape_has_no_status(self, mail: MailClient) -> None:
        await mail.control("PATCH", "gmail", {"error_shape": "old"})
        assert (await mail.get("messages/ffff")).json()["error"].keys() == {"code", "message", "errors"}

    @pytest.mark.parametrize("body", ["{", "[]", '{"addLabelIds": "INBOX"}', '{"addLabelIds": [1]}'])
    async def test_malformed_bodies_are_refused(self, mail: MailClient, body: str) -> None:
        name = await mail.deliver(subject="x")
        url = f"/gmail/v1/users/me/messages/{name}/modify"
        answer = await mail.http.post(url, content=body, headers=mail.headers | {"Content-Type": "application/json"})
        assert answer.status_code == 400

    async def test_more_labels_than_allowed_are_refused(self, mail: MailClient) -> None:
        name = await mail.deliver(subject="x")
        answer = await mail.post(f"messages/{name}/modify", {"addLabelIds": ["INBOX"] * 101})
        assert reason(answer) == (400, "invalidArgument")


class TestCompression:
    async def test_gzip_needs_the_word_in_both_headers(self, mail: MailClient) -> None:
        plain = await mail.get("labels", **{"User-Agent": "x", "Accept-Encoding": "gzip"})
        packed = await mail.get("labels", **{"User-Agent": "x (gzip)", "Accept-Encoding": "gzip"})
        assert "content-encoding" not in plain.headers
        assert packed.headers["content-encoding"] == "gzip"
        assert packed.json() == plain.json()
        assert int(packed.headers["content-length"]) < int(plain.headers["content-length"])
        assert gzip.decompress(gzip.compress(plain.content)) == plain.content


class TestUpload:
    async def test_a_message_can_be_sent_as_it_is(self, mail: MailClient) -> None:
        raw = b"To: a@example.com\r\nSubject: up\r\n\r\nbytes \xff\r\n"
        answer = await mail.http.post(
            "/upload/gmail/v1/users/me/messages/send?uploadType=media",
            content=raw,
            headers=mail.headers | {"Content-Type": "message/rfc822"},
        )
        assert answer.json()["labelIds"] == ["SENT"]
        kept = await mail.http.get(f"/_sandbox/users/{EMAIL}/messages/{answer.json()['id']}/raw")
        assert kept.content.endswith(raw)

    async def test_a_multipart_upload_has_the_resource_first(self, mail: MailClient) -> None:
        raw = "Subject: up\r\n\r\ntext"
        body = (
            '--x\r\nContent-Type: application/json\r\n\r\n{"labelIds": ["STARRED"]}\r\n'
            f"--x\r\nContent-Type: message/rfc822\r\n\r\n{raw}\r\n--x--"
        )
        answer = await mail.http.post(
            "/upload/gmail/v1/users/me/messages?uploadType=multipart",
            content=body,
            headers=mail.headers | {"Content-Type": "multipart/related; boundary=x"},
        )
        assert answer.json()["labelIds"] == ["STARRED"]
        kept = await mail.http.get(f"/_sandbox/users/{EMAIL}/messages/{answer.json()['id']}/raw")
        assert kept.text == raw


class TestBatch:
    @pytest.mark.parametrize("end", ["\r\n", "\n"])
    async def test_both_line_ends_are_read_and_crlf_is_written(self, mail: MailClient, end: str) -> None:
        part = ["--b", "Content-Type: application/http", "Content-ID: <u + 1>", "", f"GET {PROFILE} HTTP/1.1", "", ""]
        answer = await mail.http.post(
            "/batch",
            content=end.join([*part, "--b--", ""]),
            headers=mail.headers | {"Content-Type": 'multipart/mixed; boundary="b"'},
        )
        [(status, text)] = split_answers(answer)
        assert status == 200
        assert "\r\nContent-ID: <response-u + 1>\r\n" in text
        assert json.loads(text.split("\r\n\r\n")[2])["emailAddress"] == EMAIL
        assert "\n" not in text.replace("\r\n", "")

    async def test_a_part_may_bring_its_own_token(self, mail: MailClient) -> None:
        bad = f"GET {PROFILE} HTTP/1.1\r\nAuthorization: Bearer nonsense"
        good = f"GET {PROFILE} HTTP/1.1\r\nAuthorization: Bearer {mail.token}"
        assert [s for s, _ in await mail.batch([bad, f"GET {PROFILE} HTTP/1.1"])] == [401, 200]
        assert [s for s, _ in await mail.batch([good, f"GET {PROFILE} HTTP/1.1"], Authorization="Bearer x")] == [
            200,
            401,
        ]

    async def test_a_part_may_have_a_body(self, mail: MailClient) -> None:
        name = await mail.deliver(subject="x")
        body = json.dumps({"addLabelIds": ["STARRED"]})
        head = f"POST /gmail/v1/users/me/messages/{name}/modify HTTP/1.1\r\nContent-Type: application/json"
        [(status, _)] = await mail.batch([f"{head}\r\nContent-Length: {len(body)}\r\n\r\n{body}"])
        assert status == 200
        assert "STARRED" in (await mail.json(f"messages/{name}?format=minimal"))["labelIds"]

    async def test_a_deletion_answers_an_empty_part(self, mail: MailClient) -> None:
        name = await mail.deliver(subject="x")
        [(status, _)] = await mail.batch([f"DELETE /gmail/v1/users/me/messages/{name} HTTP/1.1"])
        assert status == 204

    @pytest.mark.parametrize(
        ("kind", "body"),
        [
            ("application/json", "{}"),
            ("multipart/mixed", "--b--"),
            ("multipart/mixed; boundary=b", ""),
            ("multipart/mixed; boundary=b", "--b--"),
            ("multipart/mixed; boundary=b", "--b\r\n\r\n\r\n--b--"),
        ],
    )
    async def test_a_body_that_is_no_batch_is_refused(self, mail: MailClient, kind: str, body: str) -> None:
        answer = await mail.http.post("/batch", content=body, headers=mail.headers | {"Content-Type": kind})
        assert reason(answer) == (400, "badRequest")


class TestRaw:
    @pytest.mark.parametrize("length", [40, 41, 42])
    async def test_it_is_padded_base64url(self, mail: MailClient, length: int) -> None:
        raw = b"Subject: \xfb\xef\xbe\r\n\r\n".ljust(length, b"x")
        name = await mail.deliver_raw(raw)
        encoded = (await mail.json(f"messages/{name}?format=raw"))["raw"]
        assert base64.b64decode(encoded, altchars=b"-_", validate=True) == raw


class TestDeviations:
    async def test_resources_can_have_extra_fields_and_empty_arrays(self, mail: MailClient) -> None:
        await mail.control("PUT", f"users/{EMAIL}/settings", {"extra_fields": True, "empty_arrays": True})
        name = await mail.deliver(subject="x", labels=[])
        message = await mail.json(f"messages/{name}")
        assert message["labelIds"] == []
        assert message["payload"]["parts"] == []
        assert "xSandboxExtra" in message["payload"]["headers"][0]
        start = (await mail.json("profile"))["historyId"]
        assert (await mail.json(f"history?startHistoryId={start}"))["history"] == []

    async def test_ids_need_not_be_hex(self, mail: MailClient) -> None:
        assert await mail.deliver(id="MSG-0001/é?", subject="x") == "MSG-0001/é?"
        answer = await mail.get("messages/MSG-0001%2F%C3%A9%3F?format=minimal")
        assert answer.json()["id"] == "MSG-0001/é?"

    async def test_keys_can_be_missing_or_strange(self, mail: MailClient) -> None:
        name = await mail.deliver(subject="x", omit=["payload", "internalDate"], extra={"snippet": "\ud83d", "x": None})
        answer = await mail.get(f"messages/{name}")
        assert b'"\\ud83d"' in answer.content
        assert answer.json().keys() >= {"id", "x"}
        assert not answer.json().keys() & {"payload", "internalDate"}

    async def test_encoded_words_can_stay_encoded(self, mail: MailClient) -> None:
        for encoded, subject in ((False, "Привет"), (True, "=?utf-8?b?0J/RgNC40LLQtdGC?=")):
            name = await mail.deliver(subject="Привет", encoded_headers=encoded)
            headers = (await mail.json(f"messages/{name}"))["payload"]["headers"]
            assert [header["value"] for header in headers if header["name"] == "Subject"] == [subject]

    async def test_raw_bytes_in_headers_can_be_mangled(self, mail: MailClient) -> None:
        raw = "Subject: Привет из прошлого\r\n\r\nтекст".encode("koi8-r")
        for mangled, subject in ((False, "Привет из прошлого"), (True, "������ �� ��������")):
            name = await mail.deliver_raw(raw, mangled_headers=mangled)
            headers = (await mail.json(f"messages/{name}"))["payload"]["headers"]
            assert [header["value"] for header in headers if header["name"] == "Subject"] == [subject]

    async def test_dates_can_lie_anywhere(self, mail: MailClient) -> None:
        for date in (0, -86_400_000, 2_208_988_800_000):
            name = await mail.deliver(subject="x", internal_date=date)
            assert (await mail.json(f"messages/{name}?format=minimal"))["internalDate"] == str(date)
        listed = (await mail.json("messages?includeSpamTrash=true"))["messages"]
        assert listed[0]["id"] == name

    async def test_headers_can_be_missing_and_bodies_hold_anything(self, mail: MailClient) -> None:
        name = await mail.deliver(date="", text="x")
        names = {header["name"] for header in (await mail.json(f"messages/{name}"))["payload"]["headers"]}
        assert not names & {"Subject", "From", "Date"}
        raw = b"Subject: " + b"s" * 700 + b"\r\nContent-Type: text/plain; charset=x-none\r\n\r\na\x00b"
        name = await mail.deliver_raw(raw)
        answer = await mail.http.get(f"/_sandbox/users/{EMAIL}/messages/{name}/raw")
        assert answer.content == raw
        assert (await mail.json(f"messages/{name}"))["payload"]["body"]["data"] == "YQBi"


class TestControl:
    @pytest.mark.parametrize(
        "body",
        [
            '{"cuont": 1}',
            '{"count": "1"}',
            '{"count": 1, "subject": "x"}',
            '{"raw": "****"}',
            '{"raw": "QQ==", "subject": "x"}',
            '{"labels": ["nope"], "subject": "x"}',
            '{"headers": [["a"]], "subject": "x"}',
            "[",
        ],
    )
    async def test_an_invalid_body_is_refused_with_a_reason(self, mail: MailClient, body: str) -> None:
        answer = await mail.http.post(f"/_sandbox/users/{EMAIL}/messages", content=body)
        assert answer.status_code == 400
        assert answer.json()["error"]["message"]

    async def test_an_mbox_is_taken_apart(self, mail: MailClient) -> None:
        mbox = (
            b"From a@b Thu Jan  1 00:00:00 1970\nDate: Thu, 01 Jan 1970 00:01:00 +0000\nSubject: one\n\n>From here\n\n"
            b"From c@d Thu Jan  1 00:00:00 1970\nSubject: two\n\n>From the start\n>>From two\n\n"
        )
        answer = await mail.http.post(f"/_sandbox/users/{EMAIL}/import?labels=STARRED", content=mbox)
        one, two = answer.json()["messages"]
        raw = [await mail.http.get(f"/_sandbox/users/{EMAIL}/messages/{m['id']}/raw") for m in (one, two)]
        assert raw[0].text == "Date: Thu, 01 Jan 1970 00:01:00 +0000\nSubject: one\n\nFrom here\n"
        assert raw[1].text == "Subject: two\n\nFrom the start\n>From two\n"
        assert (await mail.json(f"messages/{one['id']}?format=minimal"))["internalDate"] == "60000"

    async def test_a_single_message_is_imported_byte_for_byte(self, mail: MailClient) -> None:
        raw = b"Subject: one\r\n\r\nFrom here on\r\n"
        [message] = (await mail.http.post(f"/_sandbox/users/{EMAIL}/import", content=raw)).json()["messages"]
        kept: httpx.Response = await mail.http.get(f"/_sandbox/users/{EMAIL}/messages/{message['id']}/raw")
        assert kept.content == raw

    async def test_unknown_things_are_404(self, mail: MailClient) -> None:
        for verb, path in (
            ("GET", "users/nobody@example.com/messages"),
            ("DELETE", f"users/{EMAIL}/messages/none"),
            ("DELETE", f"users/{EMAIL}/labels/INBOX"),
            ("PUT", f"users/{EMAIL}/drafts/none"),
        ):
            assert (await mail.http.request(verb, f"/_sandbox/{path}")).status_code == 404
