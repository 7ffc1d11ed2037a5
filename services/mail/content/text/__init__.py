"""Text of messages: charsets, conversion of HTML to text, and cleaning."""
