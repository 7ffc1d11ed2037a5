"""`python -m services.mail.migrations upgrade`: the mail service's migrations."""

import sys
from pathlib import Path

from services.kit.settings import load
from services.kit.stores.migrations.command import main
from services.kit.stores.migrations.roles import ProcessRole
from services.mail.settings import MailMigrationSettings
from services.mail.store.privileges import DELIVERER, MAIL, WORKER
from services.mail.store.tables import metadata

if __name__ == "__main__":
    settings = load(MailMigrationSettings)
    main(
        sys.argv[1:],
        versions=Path(__file__).with_name("versions"),
        metadata=metadata,
        owner=settings.owner,
        administrator=settings.administrator,
        roles=[
            ProcessRole(settings.database, MAIL),
            ProcessRole(settings.worker_database, WORKER),
            ProcessRole(settings.deliverer_database, DELIVERER),
        ],
    )
