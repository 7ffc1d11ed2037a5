"""Guesses the charset of raw 8-bit header bytes, which RFC 5322 does not allow and mail contains nevertheless."""

from charset_normalizer import from_bytes

_LIKELY = ["big5hkscs", "gb18030", "cp932", "euc_kr", "euc_jp", "cp1251", "koi8_r", "cp1252"]
_SAMPLE_BYTES = 256 * 1024


def guess_charset(message: bytes) -> str:
    """Return the most likely codec for the 8-bit bytes of a whole message; windows-1252 without a good guess.

    The body helps: a subject alone is often too short.
    """
    sample = message if len(message) <= _SAMPLE_BYTES else message[:_SAMPLE_BYTES].rpartition(b"\n")[0]
    best = from_bytes(sample, cp_isolation=_LIKELY, enable_fallback=False).best()
    return best.encoding if best else "cp1252"
