"""Charset labels as senders write them, and the Python codecs that they mean."""

import re
from encodings.aliases import aliases
from functools import lru_cache

_NOT_TEXT = {
    "base64_codec",
    "bz2_codec",
    "hex_codec",
    "quopri_codec",
    "rot_13",
    "uu_codec",
    "zlib_codec",
    "mbcs",
    "oem",
}
# Codecs that no alias leads to.
_WITHOUT_ALIAS = {
    *("koi8_u", "koi8_t", "cp720", "cp737", "cp856", "cp874", "cp1006"),
    *("mac_arabic", "mac_croatian", "mac_farsi", "mac_romanian"),
}
# Labels that Python does not know, by the codec that they stand for.
_LABELS = {
    "ascii": "usascii",
    "big5": "chinesebig5 xbig5 cnbig5",
    "cp1251": "win1251 xcp1251 1251",
    "cp1252": "xansi ansi",
    "cp862": "dos862",
    "cp874": "windows874 iso885911",
    "euc_jp": "cseucpkdfmtjapanese xeucjp",
    "euc_kr": "ksc56011987 ksc5601 xwindows949 windows949",
    "gb2312": "gb231280 xeuccn",
    "gbk": "xgbk",
    "iso2022_jp": "iso2022jpms cp50220 cp50221 xiso2022jp",
    "iso8859_8": "iso88598i iso88598e",
    "koi8_r": "koi8",
    "koi8_u": "koi8ru",
    "latin_1": "iso88591",
    "mac_cyrillic": "xmaccyrillic",
    "mac_roman": "xmacroman macintosh",
    "shift_jis": "xsjis windows31j",
    "utf_16": "unicode ucs2 iso10646ucs2",
    "utf_7": "unicode11utf7",
    "utf_8": "unicode11utf8 utf8n utf8mb4 xutf8",
}
# What senders mean by a codec's name, where it is not the one that the name stands for (WHATWG Encoding).
_MEANT = {
    "big5": "cp950",
    "euc_kr": "cp949",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "iso8859_11": "cp874",
    "iso8859_9": "cp1254",
    "johab": "cp949",
    "latin_1": "cp1252",
    "shift_jis": "cp932",
    "tis_620": "cp874",
    "utf_8_sig": "utf_8",
}
_LABEL_JUNK = re.compile(r"[^a-z0-9]")
_NO_LABEL = {"unknown", "xunknown", "unknown8bit", "xunknown8bit", "default", "charset", "none", "autodetect", "binary"}


@lru_cache(maxsize=1024)
def find_codec(label: str | None) -> str | None:
    """Find the Python codec that a charset label means; None for labels that say nothing or are unknown."""
    plain = _LABEL_JUNK.sub("", label.lower()) if label else ""
    if not plain or plain in _NO_LABEL or len(plain) > 40:
        return None
    codec = _CODECS.get(plain)
    return _MEANT.get(codec, codec) if codec else None


def _list_codecs() -> dict[str, str]:
    names = (_WITHOUT_ALIAS | set(aliases.values())) - _NOT_TEXT
    by_label = {_LABEL_JUNK.sub("", alias): name for alias, name in aliases.items() if name in names}
    by_our_label = {label: codec for codec, labels in _LABELS.items() for label in labels.split()}
    return {_LABEL_JUNK.sub("", name): name for name in names} | by_label | by_our_label


_CODECS = _list_codecs()
