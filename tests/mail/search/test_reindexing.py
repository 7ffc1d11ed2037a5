"""The statements of docs/search.md that index stored messages by new rules."""

import re

from services.mail.read_model import MessageFilter
from services.mail.store.connection import Pool
from tests.mail.conftest import OpenStage
from tests.support.docs.documents import ROOT
from tests.support.mail.waiting import eventually

_PAGE = (ROOT / "docs/search.md").read_text(encoding="utf-8")
# Messages as a release with other rules stored them: no query finds them.
_FORGET = "UPDATE message_search SET vector = 'none'"
_FORGOTTEN = "SELECT count(*) FROM message_search WHERE vector = 'none'"


async def reindex(pool: Pool) -> None:
    """Run the statements of the page."""
    [statements] = re.findall(r"```sql\n(.*?)```", _PAGE, re.DOTALL)
    await pool.execute(statements)


async def test_every_message_is_found_by_the_new_rules(stage: OpenStage) -> None:
    async with stage(messages=30) as s:
        await s.sync(count=None)
        await s.until_idle()
        mine = MessageFilter(query="to:me OR from:me")
        found, listed = await s.listed(mine), await s.listed()
        assert found
        await s.pool.execute(_FORGET)
        assert await s.listed(mine) == []
        await reindex(s.pool)

        async def is_done() -> bool:
            return bool(await s.pool.fetchval(_FORGOTTEN) == 0)

        await eventually(is_done)
        await s.until_idle()
        assert await s.listed(mine) == found
        assert await s.listed() == listed
