"""The `Idempotency-Key` header (draft-ietf-httpapi-idempotency-key-header-07)."""

from typing import Annotated

from fastapi import Header

MAX_LENGTH = 255

# Compared as it is sent: clients may leave the quotes of the draft's string away.
IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=MAX_LENGTH,
        pattern="^[ -~]*$",
        description="Chosen by the client, such as a UUID: a repeat within 24 hours with the same key and body starts "
        "nothing, and answers with the sync of the first request",
        examples=["8e03978e-40d5-43dd-bc93-6894a57f9324"],
    ),
]
