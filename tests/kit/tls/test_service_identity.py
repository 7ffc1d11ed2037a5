"""Certificates between services, allow-lists, and files that change under a running process."""

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from mailroom.auth.v1 import auth_pb2, auth_pb2_grpc

from services.kit.errors import AppError, Kind
from services.kit.rpc.client import call, open_channel
from services.kit.rpc.redialing import LOOK_EVERY, RedialingChannel
from services.kit.rpc.server import serve_rpc
from services.kit.tls.authority import (
    Issued,
    create_authority,
    ensure_certificates,
    identity_in,
    issue,
    read_authority,
    renew_certificates,
)
from services.kit.tls.identity import IdentityError, ServiceIdentity
from tests.support.kit.service import METHOD, Service

NOW = datetime.now(UTC)
ONLY_MAIL = {METHOD[0]: frozenset({"mail"})}


async def nothing(_: Any) -> None:
    pass


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """The certificates that `make run` writes to MAILROOM_HOME."""
    ensure_certificates(tmp_path / "tls", now=NOW)
    return tmp_path / "tls"


@asynccontextmanager
async def served(
    identity: ServiceIdentity | None, *, callers: dict[str, frozenset[str]] = ONLY_MAIL, service: Service | None = None
) -> AsyncIterator[int]:
    register = partial(auth_pb2_grpc.add_ProviderTokenServiceServicer_to_server, service or Service(nothing))
    async with serve_rpc(host="127.0.0.1", port=0, register=[register], callers=callers, identity=identity) as port:
        yield port


class Caller:
    """Calls the service's method through one channel."""

    def __init__(self, channel: aio.Channel) -> None:
        self._channel = channel
        self._stub = auth_pb2_grpc.ProviderTokenServiceStub(channel)

    async def __call__(self) -> auth_pb2.GetAccessTokenResponse:
        return await call(self._stub.GetAccessToken, auth_pb2.GetAccessTokenRequest(), timeout=5)

    @property
    def connection(self) -> aio.Channel:
        """The channel that the last call used: another one after a change of the certificate."""
        assert isinstance(self._channel, RedialingChannel)
        return self._channel._channel

    @property
    def looks_at(self) -> float:
        """When the next call looks for changed files."""
        assert isinstance(self._channel, RedialingChannel)
        return self._channel._look_at


@asynccontextmanager
async def caller(identity: ServiceIdentity | None, port: int, *, peer: str = "auth") -> AsyncIterator[Caller]:
    """Yield a caller with that identity."""
    async with open_channel(f"127.0.0.1:{port}", peer=peer, identity=identity, retried=[]) as channel:
        yield Caller(channel)


async def until_redialled(ask: Caller, before: aio.Channel) -> None:
    """Call until a call goes over another connection."""
    async with asyncio.timeout(5 * LOOK_EVERY):
        while ask.connection is before:
            await ask()
            await asyncio.sleep(0.05)


async def refusal(asked: Any) -> grpc.StatusCode:
    """Return the status of a refused call."""
    with pytest.raises(AppError) as refused:
        await asked
    cause = refused.value.__cause__
    assert isinstance(cause, aio.AioRpcError)
    return cause.code()


class TestCalls:
    async def test_of_a_listed_caller_are_answered(self, certificates: Path) -> None:
        async with (
            served(identity_in(certificates, "auth")) as port,
            caller(identity_in(certificates, "mail"), port) as ask,
        ):
            assert await ask() == auth_pb2.GetAccessTokenResponse()

    async def test_of_another_service_are_refused_before_the_handler(self, certificates: Path) -> None:
        service = Service(nothing)
        async with (
            served(identity_in(certificates, "auth"), service=service) as port,
            caller(identity_in(certificates, "gateway"), port) as ask,
        ):
            assert await refusal(ask()) is grpc.StatusCode.PERMISSION_DENIED
        assert service.calls == 0

    @pytest.mark.parametrize("name", [x509.UniformResourceIdentifier("mail"), x509.RFC822Name("mail"), None])
    async def test_of_a_certificate_that_names_the_caller_in_another_way_are_refused(
        self, certificates: Path, name: x509.GeneralName | None
    ) -> None:
        impostor = identity_in(certificates, "gateway")
        names = [x509.DNSName("gateway"), *([name] if name else [])]
        issued = named_otherwise(certificates, common_name="mail", names=names)
        impostor.key.write_bytes(issued.key_pem)
        impostor.certificate.write_bytes(issued.certificate_pem)
        async with served(identity_in(certificates, "auth")) as port, caller(impostor, port) as ask:
            assert await refusal(ask()) is grpc.StatusCode.PERMISSION_DENIED

    async def test_refused_are_internal_errors_for_the_callers_client(self, certificates: Path) -> None:
        async with (
            served(identity_in(certificates, "auth")) as port,
            caller(identity_in(certificates, "gateway"), port) as ask,
        ):
            with pytest.raises(AppError) as refused:
                await ask()
        assert refused.value.kind is Kind.INTERNAL

    @pytest.mark.parametrize("encrypted", [True, False])
    async def test_of_a_service_on_no_list_are_refused(self, certificates: Path, encrypted: bool) -> None:
        def identity(name: str) -> ServiceIdentity | None:
            return identity_in(certificates, name) if encrypted else None

        async with served(identity("auth"), callers={}) as port, caller(identity("mail"), port) as ask:
            assert await refusal(ask()) is grpc.StatusCode.PERMISSION_DENIED

    async def test_of_streams_are_checked_too(self, certificates: Path) -> None:
        async def read(_request: bytes, _context: Any) -> AsyncIterator[bytes]:
            yield b"secret"

        def register(server: aio.Server) -> None:
            handler: grpc.RpcMethodHandler[Any, Any] = grpc.unary_stream_rpc_method_handler(read)
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Source", {"Read": handler}),))

        callers = {"test.Source": frozenset({"mail"})}
        async with serve_rpc(
            host="127.0.0.1",
            port=0,
            register=[register],
            callers=callers,
            identity=identity_in(certificates, "auth"),
        ) as port:
            for name, answers in (("mail", [b"secret"]), ("gateway", None)):
                identity = identity_in(certificates, name)
                async with open_channel(f"127.0.0.1:{port}", peer="auth", identity=identity, retried=[]) as channel:
                    method: Any = channel.unary_stream("/test.Source/Read")
                    reading = method(b"")
                    if answers is None:
                        with pytest.raises(aio.AioRpcError, match="PERMISSION_DENIED"):
                            await reading.read()
                    else:
                        assert [part async for part in reading] == answers

    async def test_for_health_need_only_a_certificate(self, certificates: Path) -> None:
        identity = identity_in(certificates, "gateway")
        async with (
            served(identity_in(certificates, "auth")) as port,
            open_channel(f"127.0.0.1:{port}", peer="auth", identity=identity, retried=[]) as channel,
        ):
            health: Any = health_pb2_grpc.HealthStub(channel)
            answer = await health.Check(health_pb2.HealthCheckRequest())
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


class TestHandshake:
    async def test_fails_without_a_certificate(self, certificates: Path) -> None:
        authority = identity_in(certificates, "mail").ca.read_bytes()
        options = [("grpc.ssl_target_name_override", "auth")]
        credentials = grpc.ssl_channel_credentials(authority)
        async with (
            served(identity_in(certificates, "auth")) as port,
            aio.secure_channel(f"127.0.0.1:{port}", credentials, options=options) as channel,
        ):
            stub = auth_pb2_grpc.ProviderTokenServiceStub(channel)
            assert await refusal(call(stub.GetAccessToken, auth_pb2.GetAccessTokenRequest())) is _NOBODY

    async def test_fails_in_plaintext(self, certificates: Path) -> None:
        async with served(identity_in(certificates, "auth")) as port, caller(None, port) as ask:
            assert await refusal(ask()) is _NOBODY

    async def test_fails_with_a_certificate_of_another_authority(self, certificates: Path) -> None:
        impostor = issue(create_authority(now=NOW), "mail", now=NOW)
        ca = identity_in(certificates, "mail").ca.read_bytes()
        async with served(identity_in(certificates, "auth")) as port:
            assert await handshake(port, ca, impostor.key_pem, impostor.certificate_pem) is _NOBODY

    async def test_fails_with_an_expired_certificate(self, certificates: Path) -> None:
        expired = reissue(certificates, "mail", now=NOW - timedelta(days=2), life=timedelta(days=1))
        ca = identity_in(certificates, "mail").ca.read_bytes()
        async with served(identity_in(certificates, "auth")) as port:
            assert await handshake(port, ca, expired.key_pem, expired.certificate_pem) is _NOBODY

    async def test_fails_when_the_server_is_of_another_authority(self, certificates: Path, tmp_path: Path) -> None:
        ensure_certificates(tmp_path / "other", now=NOW)
        async with (
            served(identity_in(tmp_path / "other", "auth")) as port,
            caller(identity_in(certificates, "mail"), port) as ask,
        ):
            assert await refusal(ask()) is _NOBODY

    async def test_fails_when_another_service_answers_at_the_address(self, certificates: Path) -> None:
        async with (
            served(identity_in(certificates, "gateway")) as port,
            caller(identity_in(certificates, "mail"), port, peer="auth") as ask,
        ):
            assert await refusal(ask()) is _NOBODY


class TestRotation:
    """A rotation of files under running processes, in which no call fails."""

    async def test_of_everything_step_by_step_fails_no_call(self, certificates: Path, tmp_path: Path) -> None:
        ensure_certificates(tmp_path / "new", now=NOW)
        new_ca = identity_in(tmp_path / "new", "auth").ca.read_bytes()
        async with rotating(certificates) as calls:
            # Trust both authorities; then replace the certificates, the server's first; then remove the old authority.
            for name in ("auth", "mail"):
                ca = identity_in(certificates, name).ca
                ca.write_bytes(ca.read_bytes() + new_ca)
            await calls.some_more(redialled=True)
            lay(certificates, identity_in(tmp_path / "new", "auth"), ca=False)
            await calls.some_more(redialled=False)
            lay(certificates, identity_in(tmp_path / "new", "mail"), ca=False)
            await calls.some_more(redialled=True)
            for name in ("auth", "mail"):
                identity_in(certificates, name).ca.write_bytes(new_ca)
            await calls.some_more(redialled=True)
            assert calls.failed == 0
            # The server trusts the new authority only: it refuses certificates of the old one.
            old = identity_in(tmp_path / "old", "mail")
            assert await handshake(calls.port, new_ca, old.key.read_bytes(), old.certificate.read_bytes()) is _NOBODY
            # So does the client: a server that trusts the new authority only accepts it.
            assert await calls.elsewhere(identity_in(tmp_path / "new", "auth"))

    async def test_does_not_interrupt_a_call_under_way(self, certificates: Path) -> None:
        arrived, go_on = asyncio.Event(), asyncio.Event()

        async def wait(_: Any) -> None:
            if not arrived.is_set():
                arrived.set()
                await go_on.wait()

        async with (
            served(identity_in(certificates, "auth"), service=Service(wait)) as port,
            caller(identity_in(certificates, "mail"), port) as ask,
        ):
            under_way = asyncio.ensure_future(ask())
            await arrived.wait()
            before = ask.connection
            replace(certificates, "mail")
            await until_redialled(ask, before)
            assert not under_way.done()
            go_on.set()
            assert await under_way == auth_pb2.GetAccessTokenResponse()

    async def test_that_is_half_done_is_not_used(self, certificates: Path) -> None:
        async with rotating(certificates) as calls:
            identity = identity_in(certificates, "mail")
            key = identity.key.read_bytes()
            identity.key.write_bytes(reissue(certificates, "mail").key_pem)
            await calls.some_more(redialled=False, connecting=False)
            identity.key.write_bytes(key)
            await calls.some_more(redialled=False)
            identity.certificate.unlink()
            await calls.some_more(redialled=False, connecting=False)
        assert calls.failed == 0


class TestIdentity:
    """Wrong files are reported in one line that names the variable."""

    @pytest.mark.parametrize(("variable", "file"), [("CERT", "tls.crt"), ("KEY", "tls.key"), ("CA", "ca.crt")])
    def test_names_a_file_that_is_missing_or_holds_something_else(
        self, certificates: Path, variable: str, file: str
    ) -> None:
        path = certificates / "mail" / file
        path.write_text("nothing")
        with pytest.raises(IdentityError, match=f"^MAILROOM_TLS_{variable}: {path} holds no"):
            identity_in(certificates, "mail").read(now=NOW)
        path.unlink()
        with pytest.raises(IdentityError, match=f"^MAILROOM_TLS_{variable}: {path} cannot be read: No such file"):
            identity_in(certificates, "mail").read(now=NOW)

    def test_names_a_key_of_another_certificate(self, certificates: Path) -> None:
        shutil.copy(certificates / "auth/tls.key", certificates / "mail/tls.key")
        with pytest.raises(IdentityError, match=r"^MAILROOM_TLS_KEY: .* is not the key of"):
            identity_in(certificates, "mail").read(now=NOW)

    def test_names_a_certificate_of_another_service(self, certificates: Path) -> None:
        lay(certificates, identity_in(certificates, "auth"), name="mail")
        with pytest.raises(IdentityError, match=r"^MAILROOM_TLS_CERT: .* is for \['auth'\] and must be for 'mail'"):
            identity_in(certificates, "mail").read(now=NOW)

    def test_names_a_certificate_of_another_authority(self, certificates: Path, tmp_path: Path) -> None:
        ensure_certificates(tmp_path / "other", now=NOW)
        shutil.copy(tmp_path / "other/mail/ca.crt", certificates / "mail/ca.crt")
        with pytest.raises(IdentityError, match=r"^MAILROOM_TLS_CERT: .* was not issued by an authority in"):
            identity_in(certificates, "mail").read(now=NOW)

    def test_names_an_expired_certificate(self, certificates: Path) -> None:
        with pytest.raises(IdentityError, match=r"^MAILROOM_TLS_CERT: .* is valid from .* to"):
            identity_in(certificates, "mail").read(now=NOW + timedelta(days=366))

    def test_does_not_show_the_key(self, certificates: Path) -> None:
        assert "PRIVATE" not in repr(identity_in(certificates, "mail").read(now=NOW))


class TestCertificates:
    def test_last_from_one_start_to_the_next(self, certificates: Path) -> None:
        assert ensure_certificates(certificates, now=NOW + timedelta(days=200)) == []

    def test_are_renewed_by_the_same_authority_before_they_end(self, certificates: Path) -> None:
        before = identity_in(certificates, "mail").read(now=NOW)
        later = NOW + timedelta(days=300)
        assert ensure_certificates(certificates, now=later) == ["auth", "gateway", "mail"]
        renewed = identity_in(certificates, "mail").read(now=later + timedelta(days=300))
        assert renewed.ca == before.ca

    def test_are_renewed_with_the_authority_when_that_ends(self, certificates: Path) -> None:
        before = identity_in(certificates, "mail").read(now=NOW)
        later = NOW + timedelta(days=3500)
        assert ensure_certificates(certificates, now=later) == ["auth", "gateway", "mail"]
        assert identity_in(certificates, "mail").read(now=later).ca != before.ca

    def test_that_were_damaged_are_reissued(self, certificates: Path) -> None:
        (certificates / "mail/tls.crt").write_text("")
        assert ensure_certificates(certificates, now=NOW) == ["mail"]

    @pytest.mark.parametrize("life", [timedelta(days=365), timedelta(hours=8)])
    def test_are_renewed_in_the_last_quarter_of_their_life(self, tmp_path: Path, life: timedelta) -> None:
        ensure_certificates(tmp_path, now=NOW, life=life)
        assert renew_certificates(tmp_path, now=NOW + 0.74 * life, life=life) == []
        later = NOW + 0.76 * life
        assert renew_certificates(tmp_path, now=later, life=life) == ["auth", "gateway", "mail"]
        identity_in(tmp_path, "mail").read(now=later + 0.99 * life)

    def test_of_another_authority_are_not_renewed(self, certificates: Path) -> None:
        stranger = create_authority(now=NOW)
        (certificates / "mail/ca.crt").write_bytes(stranger.certificate_pem)
        later = NOW + timedelta(days=360)
        assert renew_certificates(certificates, now=later) == ["auth", "gateway"]
        (certificates / "authority/ca.key").unlink()
        assert renew_certificates(certificates, now=later + timedelta(days=360)) == []

    async def test_are_renewed_by_a_process_of_their_own_while_services_call_each_other(self, tmp_path: Path) -> None:
        life = timedelta(seconds=6)
        ensure_certificates(tmp_path, now=datetime.now(UTC), life=life)
        first = {name: (tmp_path / name / "tls.crt").read_bytes() for name in ("auth", "mail")}
        renewal = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "services.kit.tls.authority", str(tmp_path)),
            *("--every", "0.1", "--days", str(life / timedelta(days=1)), "--stamp", str(tmp_path / "looked")),
        )
        try:
            async with (
                asyncio.timeout(30),
                served(identity_in(tmp_path, "auth")) as port,
                caller(identity_in(tmp_path, "mail"), port) as ask,
            ):
                while any((tmp_path / name / "tls.crt").read_bytes() == first[name] for name in first):
                    await ask()
                await ask()
            assert (tmp_path / "looked").exists()
        finally:
            renewal.terminate()
            assert await renewal.wait() == 0

    def test_are_read_by_their_owner_only(self, certificates: Path) -> None:
        files = [path for path in certificates.rglob("*") if path.is_file()]
        assert len(files) == 11
        assert {path.stat().st_mode & 0o777 for path in files} == {0o600}


# A failed handshake looks like an absent peer.
_NOBODY = grpc.StatusCode.UNAVAILABLE


class Calls:
    """Calls one after another through one channel while files change."""

    def __init__(self, ask: Caller, identity: ServiceIdentity, port: int) -> None:
        self.port = port
        self.failed = 0
        self._ask = ask
        self._identity = identity

    async def some_more(self, *, redialled: bool, connecting: bool = True) -> None:
        """Call until the files have been looked at; with `connecting` also over a new connection each time.

        Asserts whether the calls go over another connection than before.
        """
        before, looked = self._ask.connection, self._ask.looks_at
        async with asyncio.timeout(5 * LOOK_EVERY):
            while self._ask.looks_at == looked:
                await self._once(self._ask)
                if connecting:
                    async with caller(self._identity, self.port) as ask:
                        await self._once(ask)
                await asyncio.sleep(0.05)
        await self._once(self._ask)
        assert (self._ask.connection is not before) is redialled

    async def elsewhere(self, server: ServiceIdentity) -> bool:
        """Return whether a server with that identity accepts the caller's present certificate."""
        async with served(server) as port, caller(self._identity, port) as ask:
            return bool(await ask() == auth_pb2.GetAccessTokenResponse())

    async def _once(self, ask: Caller) -> None:
        try:
            await ask()
        except AppError:
            self.failed += 1


@asynccontextmanager
async def rotating(certificates: Path) -> AsyncIterator[Calls]:
    """A server and a caller whose files a test changes; `old` keeps a copy of them."""
    shutil.copytree(certificates, certificates.parent / "old")
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(served(identity_in(certificates, "auth")))
        identity = identity_in(certificates, "mail")
        ask = await stack.enter_async_context(caller(identity, port))
        yield Calls(ask, identity, port)


def lay(directory: Path, source: ServiceIdentity, *, name: str = "", ca: bool = True) -> ServiceIdentity:
    """Copy an identity's files to `directory`, as those of the service `name`."""
    target = identity_in(directory, name or source.name)
    target.key.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source.key, target.key)
    shutil.copy(source.certificate, target.certificate)
    if ca:
        shutil.copy(source.ca, target.ca)
    return target


def reissue(directory: Path, name: str, *, now: datetime = NOW, life: timedelta = timedelta(days=30)) -> Any:
    """Issue another certificate of the same authority."""
    return issue(read_authority(directory), name, now=now, life=life)


def named_otherwise(directory: Path, *, common_name: str, names: list[x509.GeneralName]) -> Issued:
    """Issue a certificate with this common name and these alternative names."""
    authority, key = read_authority(directory), ec.generate_private_key(ec.SECP256R1())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - timedelta(hours=1))
        .not_valid_after(NOW + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    return Issued(certificate, key)


def replace(directory: Path, name: str) -> None:
    """Replace a certificate by another one of the same authority."""
    issued = reissue(directory, name)
    identity_in(directory, name).key.write_bytes(issued.key_pem)
    identity_in(directory, name).certificate.write_bytes(issued.certificate_pem)


async def handshake(port: int, ca: bytes, key: bytes, certificate: bytes) -> grpc.StatusCode:
    """Return the status of a call with that certificate."""
    credentials = grpc.ssl_channel_credentials(ca, private_key=key, certificate_chain=certificate)
    options = [("grpc.ssl_target_name_override", "auth")]
    async with aio.secure_channel(f"127.0.0.1:{port}", credentials, options=options) as channel:
        stub = auth_pb2_grpc.ProviderTokenServiceStub(channel)
        return await refusal(call(stub.GetAccessToken, auth_pb2.GetAccessTokenRequest()))
