"""The settings of IMAP: Yandex's server, further ones by a file, and what applies to all of them."""

from collections.abc import Mapping

from pydantic import Field, FilePath, field_validator

from services.kit.settings import Settings
from services.mail.providers.imap.content.contents import WHOLE_UP_TO
from services.mail.providers.imap.look_plan import MARKS_SECONDS
from services.mail.providers.imap.marks import LONGEST_MARKS_SECONDS
from services.mail.providers.imap.servers import LOGIN_WINDOW, YANDEX_MARKS, MailServer, read_servers


class ImapSettings(Settings):
    """IMAP_..., YANDEX_IMAP_... and PROVIDERS_FILE."""

    yandex_imap_host: str = "imap.yandex.com"
    yandex_imap_port: int = Field(993, ge=1, le=65_535)
    # The file that describes further providers; auth reads it, too.
    providers_file: FilePath | None = None
    # Authorities (PEM) to trust besides the system's, such as the sandbox's.
    imap_ca_file: FilePath | None = None
    # Bytes of a message up to which it is fetched whole; of larger ones attachments are left out.
    imap_whole_bytes: int = Field(WHOLE_UP_TO, ge=0)
    # Seconds for which a connection is kept without work, where it does not idle.
    imap_connection_seconds: float = Field(300, ge=0)
    # Seconds within which a mailbox signs in 10 times at most, and in twelve times as many 10 times in vain.
    imap_login_window: float = Field(LOGIN_WINDOW, gt=0)
    # Seconds between two comparisons of the marks of a quiet mailbox at most, where no number tells of their changes.
    imap_marks_longest_seconds: float = Field(LONGEST_MARKS_SECONDS, ge=MARKS_SECONDS)
    # Connections of a worker over which servers announce new mail.
    imap_idle_connections: int = Field(1_000, ge=0)

    @field_validator("providers_file")
    @classmethod
    def _is_readable(cls, value: FilePath | None) -> FilePath | None:
        if value is not None:
            read_servers(value)
        return value

    @property
    def mail_servers(self) -> Mapping[str, MailServer]:
        """The servers by provider."""
        yandex = MailServer(host=self.yandex_imap_host, port=self.yandex_imap_port, hidden_marks=YANDEX_MARKS)
        further = {} if self.providers_file is None else read_servers(self.providers_file)
        return {"yandex": yandex, **further}
