"""Snippets of Gmail's message resource."""

from services.mail.providers.gmail.message import plain_snippet


class TestSnippets:
    def test_are_unescaped_exactly_once(self) -> None:
        assert plain_snippet("It&#39;s &lt;b&gt; &amp;amp; more") == "It's <b> &amp; more"

    def test_lose_zero_width_padding_and_keep_joiners(self) -> None:
        assert plain_snippet("Sale\u034f \u200c \u00ad\u034f \u200c now") == "Sale now"
        assert plain_snippet("👩\u200d👩 می\u200cخواهم") == "👩\u200d👩 می\u200cخواهم"
