"""Names that Mailroom has given up, each with the one that stands for the thing now."""

import io
import re
import tokenize
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.architecture.repository import tracked_files

CHECKED = ("services", "tests", "protos/mailroom", "docs", "deploy", "benchmarks", "README.md", "README.ru.md")
NOT_CHECKED = (
    "deploy/locks/",  # names of other people's packages
    "services/gateway/pages/swagger_ui/",  # the code of others
    "tests/architecture/",  # writes old names to have them found
    "tests/e2e/upgrade/releases/",  # is what earlier releases said
    # Rename the tables of earlier releases.
    "services/auth/migrations/versions/0002_say_why_access_is_denied.py",
    "services/mail/migrations/versions/0002_feed_incarnations_and_label_changes.py",
    "tests/support/architecture/old_names.py",
)


@dataclass(frozen=True, slots=True)
class OldName:
    """A name and its successor.

    `pattern` is searched in paths and in text; where the name is an English word, too, it is an `identifier` and is
    compared with the names in Python code only. `below` are folders, all of the checked ones unless given.
    """

    pattern: str
    now: str
    below: tuple[str, ...] = ()
    identifier: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """One place that uses an old name; line 0 is the path itself."""

    path: str
    line: int
    found: str
    now: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.found} is called {self.now}"


_AUTH = ("services/auth", "tests/auth", "tests/support/auth")
_MAIL = ("services/mail", "tests/mail", "tests/support/mail")
_SANDBOX = ("services/sandbox", "tests/sandbox", "tests/support/sandbox")
_SQL_FREE = (
    *(f"services/auth/{below}" for below in ("app.py", "provider_grants", "providers", "rpc", "sessions", "sign_in")),
    *_SANDBOX,
    "services/gateway",
    "services/kit",
)
"""Where `Identity` is not SQLAlchemy's."""

OLD_NAMES = (
    OldName(r"(?i)loose_?grants?", "grant_revocations or pending_links"),
    OldName(r"sign_in[./]attempts\b|auth[./]attempts\b", "one_time_records"),
    OldName(r"Attempts?", "AuthorizationRequest", _AUTH, identifier=True),
    OldName(r"(?i)hand[_ -]?offs?(?![a-z])", "LoginCode"),
    OldName(r"(?i)client[_ -]?proof", "pkce"),
    OldName(r"(?i)ask_?again", "ConsentRequired"),
    OldName(r"Redirect", "AuthorizationResponse", _AUTH, identifier=True),
    OldName(r"Disconnecting", "Disconnections", (*_AUTH, *_MAIL), identifier=True),
    OldName(r"redis_unavailable", "service_unavailable"),
    OldName(r"(?i)vault", "cipher"),
    OldName(r"(?i)re_?seal", "reencrypt"),
    OldName(r"(?i)(?<![a-z])(un)?seal(s|ed|ing)?(?![a-z])", "encrypt"),
    OldName(r"(?i)token_?facts", "userinfo"),
    OldName(r"sync[./]rest\b|Lane\.REST|(?i:mailboxes at rest)", "idle_check, Lane.IDLE, idle mailboxes"),
    OldName(r'"rest"', "idle", _MAIL),
    OldName(r"\w*resting\w*", "idle", _MAIL, identifier=True),
    OldName(r"MailboxRun|sync[./](slice|run)\b", "turn_steps.run_turn or TurnContext"),
    OldName(r"sync[./]parallelism|(?i:\bparallelism\b)", "concurrency_limit"),
    OldName(r"mail[./](store[./])?figures\b", "metrics"),
    OldName(r"\w*_figures|figures_?\w*|Figures", "metrics", _MAIL, identifier=True),
    OldName(r"mail[./]views\b|\bviews\.py", "read_model"),
    OldName(r"downloads[./]leftovers\b", "cache_cleanup"),
    OldName(r"\w*leftovers\w*", "cache_cleanup", _MAIL, identifier=True),
    OldName(r"store[./]items\b", "fetch_queue"),
    OldName(r"(?i)unbury", "clear_dead_letters"),
    OldName(r"(?i)relisted", "listing_diff", _MAIL),
    OldName(r"store[./]conditions\b", "query_sql"),
    OldName(r"Changes", "HistoryDelta or ChangeFeed", _MAIL, identifier=True),
    OldName(r"`Changes`", "HistoryDelta or ChangeFeed", ("docs",)),
    OldName(r"LocalId", "PublicId"),
    OldName(
        r"(?i)hidden(_labels)?",
        "include_spam_trash",
        ("services/mail/reading", "services/mail/store/reading", "services/mail/search", *_SANDBOX),
        identifier=True,
    ),
    OldName(r"(providers|rpc|gateway)[./]answers\b", "oauth_responses, to_proto or responses"),
    OldName(r"kit[./]egress\b", "kit/http/outbound"),
    OldName(r"_?Answer", "HttpResponse", ("services",), identifier=True),
    OldName(r"Identity", "ServiceIdentity, ProviderIdentity or SandboxUsers", _SQL_FREE, identifier=True),
    OldName(r"`Identity[.`]", "ServiceIdentity, ProviderIdentity or SandboxUsers", ("docs",)),
    OldName(r"gateway[./]preferences\b", "prefer_header"),
    OldName(r"gateway[./]callers\b", "bearer"),
    OldName(r"kit[./](rpc[./])?callers\b", "allow_list"),
    OldName(r"Ask|_part_ask", "GmailRequest", _SANDBOX, identifier=True),
    OldName(r"(?i)prepared", "routed_call", _SANDBOX, identifier=True),
    OldName(r"(?i)\w*books", "state", _SANDBOX, identifier=True),
    OldName(r"(?i)oddit(y|ies)|_odd", "deviations", _SANDBOX, identifier=True),
    OldName(r"(?i)draws", "seeded_random", _SANDBOX, identifier=True),
    OldName(r"(?i)place", "page_position", _SANDBOX, identifier=True),
    OldName(r"routes[./]hooks\b", "routes/push"),
)

PUBLISHED = (
    "invalid_hand_off",  # code of POST /auth/token
    "client_proof_required",  # code of GET /auth/{provider}/start
    "AUTH_REQUIRE_CLIENT_PROOF",  # setting
    "auth_require_client_proof",  # the same, as settings spell it in Python
    "mailroom vault v1",  # derives the key of everything that is encrypted
    '"loose_grant"',  # is bound to grants that are encrypted already
    "mailroom vault key id",  # derives the id of that key
    'Lane.IDLE: "rest"',  # value of the label `lane` of metrics
)
"""Old names that others rely on: an API, a setting, a metric, or data that is encrypted already."""


def find_old_names(
    root: Path, *, names: Sequence[OldName] = OLD_NAMES, published: Iterable[str] = PUBLISHED
) -> list[Finding]:
    """Return every use of an old name in the checked files."""
    search = _Search(names, published)
    paths = (path for path in tracked_files(root, *CHECKED) if not path.startswith(NOT_CHECKED))
    return [finding for path in paths for finding in search.file(root, path)]


class _Search:
    """Looks for names of the table, file by file."""

    def __init__(self, names: Sequence[OldName], published: Iterable[str]) -> None:
        self._names = [(name, re.compile(name.pattern)) for name in names]
        self._published = re.compile("|".join(map(re.escape, published)) or r"(?!)")

    def file(self, root: Path, path: str) -> Iterator[Finding]:
        names = [(name, regex) for name, regex in self._names if not name.below or path.startswith(name.below)]
        for name, regex in names:
            if not name.identifier and (match := regex.search(path)):
                yield Finding(path, 0, match[0], name.now)
        try:
            text = (root / path).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            return
        text = self._published.sub("", text)
        # Few files have any of them, and the rest is not read line by line.
        names = [(name, regex) for name, regex in names if regex.search(text)]
        in_text = [(name, regex) for name, regex in names if not name.identifier]
        for number, line in enumerate(text.splitlines(), start=1):
            for name, regex in in_text:
                for match in regex.finditer(line):
                    yield Finding(path, number, match[0], name.now)
        if path.endswith(".py"):
            yield from _identifiers(path, text, [(name, regex) for name, regex in names if name.identifier])


def _identifiers(path: str, text: str, names: Sequence[tuple[OldName, re.Pattern[str]]]) -> Iterator[Finding]:
    for token in tokenize.generate_tokens(io.StringIO(text).readline) if names else ():
        if token.type == tokenize.NAME:
            for name, regex in names:
                if regex.fullmatch(token.string):
                    yield Finding(path, token.start[0], token.string, name.now)
