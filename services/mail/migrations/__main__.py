"""`python -m services.mail.migrations upgrade`."""

import sys
from pathlib import Path

from services.kit.settings import load
from services.kit.stores import migrations
from services.mail.settings import MailDatabaseSettings

if __name__ == "__main__":
    settings = load(MailDatabaseSettings)
    migrations.main(
        sys.argv[1:],
        directory=Path(__file__).parent,
        database=settings.database,
        administrator=settings.administrator,
    )
