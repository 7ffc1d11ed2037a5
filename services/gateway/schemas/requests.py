"""Types that requests share."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field
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


class Request(BaseModel):
    """The base of requests' bodies and parameters."""

    # A misspelt field would otherwise be a filter that is silently not applied.
    model_config = ConfigDict(frozen=True, extra="forbid")


class MailboxQuery(Request):
    """A mailbox, named by exactly one of `user_email` and `account_id`."""

    user_email: AddressText = None
    account_id: AccountId = None

    @validator(mode="after")
    def _one_mailbox(self) -> Self:
        require_one(self, "user_email", "account_id")
        return self


def require_one(model: BaseModel, first: str, second: str) -> None:
    """Check that exactly one of the two fields is set. Raises PydanticCustomError."""
    if (getattr(model, first) is None) == (getattr(model, second) is None):
        raise PydanticCustomError(
            "mailroom.mailbox", "give exactly one of {first} and {second}", {"first": first, "second": second}
        )
