"""Types that requests share."""

from typing import Annotated, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic import model_validator as validator
from pydantic_core import PydanticCustomError

MAX_LIMIT = 200
# Postgres stores no NUL.
NO_NUL = r"^[^\x00]*$"
_Uuid = Annotated[str, Field(min_length=1, max_length=64, pattern=NO_NUL, json_schema_extra={"format": "uuid"})]
AccountId = Annotated[_Uuid | None, Field(description="The id of a connected mailbox")]
AddressText = Annotated[
    str | None,
    Field(
        min_length=1,
        max_length=320,
        pattern=NO_NUL,
        description="The address of a connected mailbox",
        examples=["ada@example.com"],
    ),
]
Limit = Annotated[int, Field(ge=1, le=MAX_LIMIT, description="The most items of a page")]
Cursor = Annotated[
    str, Field(max_length=2048, pattern=NO_NUL, description="`next_cursor` of the page before; empty: the first page")
]


DEPRECATED: dict[str, JsonValue] = {"deprecated": True}


class Request(BaseModel):
    """The base of requests' bodies and parameters."""

    # A misspelt field would otherwise be a filter that is silently not applied.
    model_config = ConfigDict(frozen=True, extra="forbid")


class MailboxName(Request):
    """A mailbox, named by exactly one of `mailbox_id` and `email`, or by an older name of one of them."""

    mailbox_id: AccountId = None
    email: AddressText = None
    # pydantic's own mark would warn whenever the field is read.
    account_id: Annotated[AccountId, Field(json_schema_extra=DEPRECATED, description="Older name of `mailbox_id`")] = (
        None
    )
    user_email: Annotated[AddressText, Field(json_schema_extra=DEPRECATED, description="Older name of `email`")] = None

    least_names: ClassVar[int] = 1

    @validator(mode="after")
    def _one_mailbox(self) -> Self:
        if not self.least_names <= len(self.names()) <= 1:
            raise PydanticCustomError("mailroom.mailbox", "give exactly one of mailbox_id and email")
        return self

    def names(self) -> list[str]:
        """Return the names that are given."""
        given = (self.mailbox_id, self.email, self.account_id, self.user_email)
        return [name for name in given if name is not None]


class MailboxQuery(MailboxName):
    """The mailbox that the parameters name."""


class MaybeMailboxQuery(MailboxName):
    """The mailbox that the parameters name, if any."""

    least_names: ClassVar[int] = 0
