"""Templates, with the filters that they use."""

import html
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from services.console.gateway.samples import as_curl, as_python
from services.console.words.amounts import counted, number, size
from services.console.words.outcomes import OUTCOMES
from services.console.words.searches import label_search
from services.console.words.times import exact, parse_time, relative

_TEMPLATES = Path(__file__).parents[1] / "templates"
_MARKS = re.compile(r"(</?mark>)")


def create_templates(*, clock: Callable[[], float], api: str, version: str) -> Environment:
    """Return the templates: all values are escaped, and one that is not given is an error."""
    templates = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )

    def now() -> datetime:
        return datetime.fromtimestamp(clock(), UTC)

    def when(text: str) -> Markup:
        """Return a time in relative words, with the exact one for hovering and for scripts."""
        moment = parse_time(text)
        return Markup('<time datetime="{}" title="{}">{}</time>').format(
            moment.isoformat(), exact(moment), relative(moment, now())
        )

    templates.filters |= {
        "when": when,
        "number": number,
        "size": size,
        "marked": marked,
        "pretty": pretty,
        "label_search": label_search,
    }
    templates.globals |= {
        "counted": counted,
        "outcomes": OUTCOMES,
        "as_curl": as_curl,
        "as_python": as_python,
        "api": api,
        "version": version,
        "person": person,
    }
    return templates


def marked(highlight: str) -> Markup:
    """Return the API's highlight: text, with nothing but its `<mark>` as markup."""
    parts = (
        Markup(part) if _MARKS.fullmatch(part) else escape(html.unescape(part))  # noqa: S704 - one of two constants
        for part in _MARKS.split(highlight)
    )
    return Markup("").join(parts)


def person(address: dict[str, Any] | None) -> str:
    """Return the name of a sender or recipient, or the address."""
    if address is None:
        return "Unknown sender"
    return str(address["name"] or address["email"])


def pretty(value: object) -> str:
    """Return JSON for reading."""
    return json.dumps(value, indent=2, ensure_ascii=False)
