"""`python -m services.mail.migrations upgrade`: the mail service's migrations."""

import sys
from pathlib import Path

from services.kit.settings import load
from services.kit.stores.migrations.command import main
from services.mail.settings import MailDatabaseSettings
from services.mail.store.tables import metadata

if __name__ == "__main__":
    settings = load(MailDatabaseSettings)
    main(
        sys.argv[1:],
        versions=Path(__file__).with_name("versions"),
        metadata=metadata,
        database=settings.database,
        administrator=settings.administrator,
    )
