"""Types that requests share."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field
from pydantic import model_validator as validator
from pydantic_core import PydanticCustomError

MAX_LIMIT = 200
# Postgres stores no NUL.
NO_NUL = r"^[^\x00]*$"
AccountId = Annotated[str | None, Field(min_length=1, max_length=64, pattern=NO_NUL)]
AddressText = Annotated[str | None, Field(min_length=1, max_length=320, pattern=NO_NUL)]


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
