"""Options that several commands have."""

from typing import Annotated

import typer

_MAILBOX = "Address or id of a mailbox. Default: the only one."
MailboxOption = Annotated[str | None, typer.Option("--mailbox", "-m", help=_MAILBOX, envvar="MAILROOM_MAILBOX")]
