"""CPU time to parse one message, from raw bytes and from Gmail's resource, for real and generated mail.

Claim: below 0.3 ms per ordinary message. Prints a JSON line per measurement, then a table. Python's own parser
(policy.default: structure, subject, addresses, date and text) runs beside it for comparison. Each value is the median
of five runs, interleaved. Real mail is read from ../shared/corpus where it exists.
"""

import base64
import email
import email.policy
import json
import statistics
import sys
import tarfile
import time
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from services.mail.content import parse_raw
from services.mail.providers.gmail.payload import parse_gmail
from services.sandbox.mime.part_tree import Part, parse_message

CORPUS = Path(__file__).resolve().parents[2] / "shared" / "corpus" / "real-mail.tar.gz"
RUNS = 5
CLAIM_MS = 0.3
_SENTENCE = "The report for the second quarter is attached; please read it before we meet on Thursday. "


def main() -> None:
    """Measure every set with every parser; exit with 1 if an ordinary message takes longer than claimed."""
    rows = [_measure(name, messages) for name, messages in _sets().items()]
    for row in rows:
        print(json.dumps(row))
    _print_table(rows)
    ordinary = [row for row in rows if not row["set"].startswith("large")]
    sys.exit(any(max(row["raw_ms"], row["gmail_ms"]) > CLAIM_MS for row in ordinary))


def _sets() -> dict[str, list[bytes]]:
    sets = {
        "plain text": [_make(html=False, attachment=0)] * 200,
        "text and HTML": [_make(html=True, attachment=0)] * 200,
        "large: 100 kB attached": [_make(html=True, attachment=100_000)] * 50,
        "large: 10 MB attached": [_make(html=True, attachment=10_000_000)],
    }
    return ({"real mail": _read_corpus()} if CORPUS.exists() else {}) | sets


def _read_corpus() -> list[bytes]:
    with tarfile.open(CORPUS) as archive:
        files = [archive.extractfile(member) for member in archive if member.isfile()]
        return [file.read() for file in files if file is not None]


def _make(*, html: bool, attachment: int) -> bytes:
    message = EmailMessage()
    message["From"] = "Ada Lovelace <ada@example.com>"
    message["To"] = "Grace Hopper <grace@example.org>, Иван Петров <ivan@example.net>"
    message["Subject"] = "Отчёт за второй квартал"
    message["Date"] = "Tue, 03 Sep 2024 12:34:56 +0200"
    for hop in range(8):
        message["Received"] = f"from mx{hop}.example.com by mx{hop + 1}.example.com; Tue, 03 Sep 2024 12:34:56 +0200"
    message.set_content(_SENTENCE * 20)
    if html:
        paragraphs = "".join(f"<p style='color: #222'>{_SENTENCE * 4}</p>\n" for _ in range(20))
        message.add_alternative(f"<html><body>{paragraphs}</body></html>", subtype="html")
    if attachment:
        message.add_attachment(bytes(attachment), maintype="application", subtype="pdf", filename="отчёт.pdf")
    return message.as_bytes()


def _measure(name: str, messages: list[bytes]) -> dict[str, Any]:
    resources = [{"payload": _resource(parse_message(data), "")} for data in messages]
    times: dict[str, list[float]] = {"raw": [], "gmail": [], "email": []}
    for _ in range(RUNS):
        times["raw"].append(_cpu(lambda: [parse_raw(data) for data in messages]))
        times["gmail"].append(_cpu(lambda: [parse_gmail(resource) for resource in resources]))
        times["email"].append(_cpu(lambda: [_parse_with_email(data) for data in messages]))
    medians = {f"{key}_ms": round(statistics.median(values) * 1e3 / len(messages), 4) for key, values in times.items()}
    return {"set": name, "messages": len(messages), "kb": sum(map(len, messages)) // len(messages) // 1000} | medians


def _cpu(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def _parse_with_email(data: bytes) -> object:
    message = email.message_from_bytes(data, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    try:
        str(message["subject"]), message["from"], message["to"], message["date"]
        body = message.get_body(preferencelist=("plain", "html"))
        return body.get_content() if body is not None else None
    except (LookupError, ValueError, AttributeError, TypeError):
        return None


def _resource(part: Part, part_id: str) -> dict[str, Any]:
    """Return a payload as Gmail delivers it: attachments by reference."""
    body: dict[str, Any] = {"size": part.size}
    if part.is_attachment and part.size:
        body["attachmentId"] = "ANGjdJ"
    elif part.content is not None:
        body["data"] = base64.urlsafe_b64encode(part.read()).decode()
    prefix = f"{part_id}." if part_id else ""
    return {
        "partId": part_id,
        "mimeType": part.mime_type,
        "filename": part.filename,
        "headers": [{"name": name, "value": value} for name, value in part.headers],
        "body": body,
        "parts": [_resource(child, f"{prefix}{index}") for index, child in enumerate(part.parts)],
    }


def _print_table(rows: list[dict[str, Any]]) -> None:
    print(f"\n{'ms CPU per message':30} {'kB':>7} {'raw':>9} {'Gmail':>9} {'email':>9}")
    for row in rows:
        print(f"{row['set']:30} {row['kb']:>7} {row['raw_ms']:>9} {row['gmail_ms']:>9} {row['email_ms']:>9}")


if __name__ == "__main__":
    main()
