"""The usual design: one FastAPI application with SQLAlchemy's ORM and Pydantic models, over the same tables.

As in FastAPI's tutorial and template, each request loads the token's user from the database, so that a locked-out user
is refused at once. The users' table is made here, since a monolith has one.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any
from uuid import UUID

import jwt
from fastapi import Depends, FastAPI, HTTPException, Query
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, ConfigDict, Field, field_serializer
from sqlalchemy import BigInteger, ForeignKey, Text, select, text, tuple_
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, selectinload

from benchmarks.read_ways.server import POOL, ServerConfig, Tokens, serve
from services.mail.ids import PublicIds
from services.mail.marks import Mark
from services.mail.providers.label_ids import marks_of
from services.mail.read_model import MessageFilter, Position
from services.mail.reading.page_tokens import PageTokens

_FILL_USERS = """
    INSERT INTO benchmark.users SELECT DISTINCT user_id, true FROM mailboxes WHERE user_id IS NOT NULL
    ON CONFLICT DO NOTHING
"""


class Base(DeclarativeBase):
    """Base of the tables."""


class User(Base):
    """A user who may sign in."""

    __tablename__ = "users"
    # Separate from mail's tables.
    __table_args__ = {"schema": "benchmark"}  # noqa: RUF012 - as SQLAlchemy declares it
    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    is_active: Mapped[bool]


class Label(Base):
    """A label."""

    __tablename__ = "labels"
    mailbox_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("mailboxes.mailbox_id"), primary_key=True)
    label_id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]


class Mailbox(Base):
    """A mailbox with its labels."""

    __tablename__ = "mailboxes"
    mailbox_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    account_id: Mapped[UUID]
    user_id: Mapped[UUID]
    email: Mapped[str]
    labels: Mapped[list[Label]] = relationship(lazy="raise")


class Message(Base):
    """A message as lists show it."""

    __tablename__ = "messages"
    mailbox_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    message_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    external_id: Mapped[str]
    thread_id: Mapped[str]
    received_at: Mapped[datetime] = mapped_column(TIMESTAMP(timezone=True))
    from_name: Mapped[str | None]
    from_email: Mapped[str | None]
    to_addresses: Mapped[list[Any]] = mapped_column(JSONB)
    cc_addresses: Mapped[list[Any]] = mapped_column(JSONB)
    subject: Mapped[str | None]
    snippet: Mapped[str]
    label_ids: Mapped[list[str]] = mapped_column(ARRAY(Text))
    has_attachments: Mapped[bool]
    size: Mapped[int] = mapped_column(BigInteger)


class EmailAddress(BaseModel):
    """An address in From or To."""

    name: str
    email: str


class EmailSummary(BaseModel):
    """A message of the list."""

    model_config = ConfigDict(validate_by_name=True, serialize_by_alias=True)

    id: str
    external_id: str
    mailbox_id: UUID
    account_id: UUID
    thread_id: str
    from_email: str | None
    sender: Annotated[EmailAddress | None, Field(alias="from")]
    to: list[EmailAddress]
    cc: list[EmailAddress]
    subject: str | None
    snippet: str
    received_at: datetime
    is_read: bool
    marks: list[Mark]
    labels: list[str]
    has_attachments: bool
    size: int

    @field_serializer("received_at")
    def _rfc3339(self, moment: datetime) -> str:
        return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class EmailPage(BaseModel):
    """A page of the list."""

    emails: list[EmailSummary]
    next_cursor: str | None


def create_app(config: ServerConfig) -> FastAPI:
    """Build the application."""
    engine = create_async_engine(
        config.dsn.replace("postgresql", "postgresql+asyncpg", 1), pool_size=POOL, max_overflow=0
    )
    sessions = async_sessionmaker(engine, expire_on_commit=False)
    tokens = Tokens(config)
    app = FastAPI(title="Monolith", lifespan=partial(_with_users, engine))

    async def session() -> AsyncIterator[AsyncSession]:
        async with sessions() as opened:
            yield opened

    async def current_user(
        credentials: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())],
        database: Annotated[AsyncSession, Depends(session)],
    ) -> User:
        try:
            user_id = UUID(tokens.user_id(credentials.credentials))
        except jwt.PyJWTError:
            raise HTTPException(401) from None
        user = await database.get(User, user_id)
        if user is None or not user.is_active:
            raise HTTPException(401)
        return user

    @app.get("/emails")
    async def list_emails(
        user: Annotated[User, Depends(current_user)],
        database: Annotated[AsyncSession, Depends(session)],
        user_email: str,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
        cursor: str = "",
    ) -> EmailPage:
        mailbox = await _mailbox(database, user.user_id, user_email)
        scope = {"mailbox": mailbox.mailbox_id, **MessageFilter().fingerprint()}
        found = await _messages(database, mailbox, app.state.page_tokens.decode(cursor, scope=scope), limit + 1)
        names = {label.label_id: label.name for label in mailbox.labels}
        shown, token = found[:limit], None
        if len(found) > limit:
            last = Position(received_at=shown[-1].received_at, message_id=shown[-1].message_id)
            token = app.state.page_tokens.encode(last, scope=scope)
        return EmailPage(
            emails=[_summary(message, mailbox, names, app.state.ids) for message in shown], next_cursor=token
        )

    return app


@asynccontextmanager
async def _with_users(engine: AsyncEngine, app: FastAPI) -> AsyncIterator[None]:
    async with engine.begin() as connection:
        await connection.execute(text("CREATE SCHEMA IF NOT EXISTS benchmark"))
        await connection.run_sync(Base.metadata.create_all, tables=[Base.metadata.tables["benchmark.users"]])
        await connection.execute(text(_FILL_USERS))
        key = (await connection.execute(text("SELECT key, plain_until FROM public_id_key"))).one()
        app.state.ids = PublicIds(key.key, plain_until=key.plain_until)
        app.state.page_tokens = PageTokens(key.key)
    yield
    await engine.dispose()


async def _mailbox(database: AsyncSession, user: UUID, email: str) -> Mailbox:
    query = select(Mailbox).where(Mailbox.user_id == user, Mailbox.email == email).options(selectinload(Mailbox.labels))
    mailbox = await database.scalar(query)
    if mailbox is None:
        raise HTTPException(404)
    return mailbox


async def _messages(database: AsyncSession, mailbox: Mailbox, after: Position | None, limit: int) -> Sequence[Message]:
    query = select(Message).where(Message.mailbox_id == mailbox.mailbox_id)
    if after is not None:
        query = query.where(tuple_(Message.received_at, Message.message_id) < (after.received_at, after.message_id))
    query = query.order_by(Message.received_at.desc(), Message.message_id.desc()).limit(limit)
    return (await database.scalars(query)).all()


def _summary(message: Message, mailbox: Mailbox, names: dict[str, str], ids: PublicIds) -> EmailSummary:
    email, is_read = message.from_email, "UNREAD" not in message.label_ids
    return EmailSummary(
        id=ids.encode(message.mailbox_id, message.message_id),
        external_id=message.external_id,
        mailbox_id=mailbox.account_id,
        account_id=mailbox.account_id,
        thread_id=message.thread_id,
        from_email=email,
        sender=None if email is None else EmailAddress(name=message.from_name or "", email=email),
        to=[EmailAddress(**address) for address in message.to_addresses],
        cc=[EmailAddress(**address) for address in message.cc_addresses],
        subject=message.subject,
        snippet=message.snippet,
        received_at=message.received_at,
        is_read=is_read,
        marks=marks_of(message.label_ids, is_read=is_read),
        labels=[names.get(label_id, label_id) for label_id in message.label_ids],
        has_attachments=message.has_attachments,
        size=message.size,
    )


if __name__ == "__main__":
    given = ServerConfig.given()
    serve(create_app(given), given)
