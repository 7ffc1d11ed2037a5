"""Detection of charsets where the label is missing, or cannot be true.

Single-byte charsets are told apart by how usual their letters are, East Asian ones by their most used code ranges:
general detectors miss them in samples as short as a subject line. charset-normalizer decides the rest.
"""

import math
import re
from functools import cache

from charset_normalizer import from_bytes

_SAMPLE_BYTES = 2048
_SHORTEST_GENERAL_SAMPLE = 64
# How frequent each letter is, in percent of the letters of its language.
_CYRILLIC = """
    о10.97 е8.45 а8.01 и7.35 н6.70 т6.26 с5.47 р4.73 в4.54 л4.40 к3.49 м3.21 д2.98 п2.81 у2.62 я2.01 ы1.90 ь1.74
    г1.70 з1.65 б1.59 ч1.44 й1.21 х0.97 ж0.94 ш0.73 ю0.64 ц0.48 щ0.36 э0.32 ф0.26 ъ0.10 ё0.30 і2.0 ї0.6 є0.5 ґ0.02
"""
_GREEK = """
    α9.5 ο8.0 ι8.5 ε7.0 τ8.0 σ4.9 ς4.0 ν7.5 η4.5 υ4.0 ρ4.3 π4.0 κ4.2 μ3.4 λ3.3 ω1.8 δ1.7 γ2.0 χ1.4 θ1.3 φ1.2 β0.8
    ξ0.6 ζ0.5 ψ0.2 ά2.0 έ1.8 ή1.3 ί2.5 ό2.2 ύ1.2 ώ0.8
"""
_HEBREW = """
    י11.0 ה10.9 ו10.4 ל7.4 א6.3 ר5.6 ת5.0 ב4.7 מ4.6 ם2.7 ש4.4 נ2.9 ן1.3 ע3.2 ח2.5 ד2.4 ק2.1 צ1.2 פ1.7 ט1.2 ג1.2
    ס1.5 ז1.3 כ2.1 ך0.8 ף0.3 ץ0.1
"""
_THAI = """
    า8.0 น6.5 ร6.5 อ5.5 ก5.0 เ5.0 ่5.0 ง4.5 ั4.5 ม4.0 ้4.0 ย3.5 ว3.5 ต3.5 ล3.5 ี3.5 ส3.0 ท3.0 ด3.0 ห3.0 ิ3.0 ค2.5
    ป2.5 บ2.5 แ2.0 จ2.0 พ2.0 ุ2.0 ์1.5 ะ1.5 ไ1.5 ข1.5 ใ1.5 ช1.5 ื1.5 ู1.2 โ1.0 ถ1.0 ็1.0 ผ1.0 ำ1.0 ณ0.7 ศ0.6 ึ0.6
    ซ0.5 ธ0.5 ภ0.4 ษ0.4 ญ0.3 ฟ0.3 ๆ0.2 ฐ0.1 ฉ0.1 ฝ0.1
"""
_SINGLE_BYTE = {
    **dict.fromkeys(("cp1251", "koi8_r", "cp866", "iso8859_5", "mac_cyrillic"), _CYRILLIC),
    **dict.fromkeys(("cp1253", "iso8859_7"), _GREEK),
    "cp1255": _HEBREW,
    "cp874": _THAI,
}
# A rarer charset has to fit better than the usual ones.
_RARITY = {"mac_cyrillic": 0.4, "cp866": 0.1, "cp1253": 0.2, "iso8859_7": 0.2, "cp1255": 0.2, "cp874": 0.1}
_UPPER_PENALTY = 0.25
_FLIP_PENALTY = 2.0
_FOREIGN_SCORE = -4.0
_LEAST_LETTER_SCORE = 0.6
# The same against a Latin label, up to so many bytes: a few accented letters in a row can pass for a word by chance.
_LEAST_SCORE_AGAINST_LABEL = ((7, 1.3), (23, 0.95), (_SAMPLE_BYTES, 0.8))
_TOO_FEW_EAST_ASIAN = 7
_CASE_FLIP = re.compile("[а-яёα-ώ][А-ЯЁΆ-Ω]")
_LEAST_EAST_ASIAN_SHARE = 0.6
_HIGH_RUN = re.compile(rb"[\x80-\xff]+")
_WESTERN_SHARE = 0.5
_FEWEST_BYTES_OF_ANOTHER_SCRIPT = 4
# Indents of no-break spaces, rules and the like: no language repeats a letter so often.
_ORNAMENT = re.compile(rb"([\x80-\xff])\1{2,}")
# In windows-1252: quotes, dashes, bullets, no-break spaces.
_WESTERN_PUNCTUATION = re.compile(rb"[\x82\x84\x85\x91-\x97\xa0\xab\xb0\xb7\xbb]+")
# The accented letters of one accent, and of each language in Latin script: those of a list are all from one of these,
# words of another script take from several.
_ALPHABETS = "àèìòù áéíóúýñü âêîôû äëïöüÿ äöüß àâæçéèêëîïôùûüÿœ åäöæøé áâãàçéêíóôõúü áðéíóúýþæö çğıöşüâî"
# An English text from East Asia may use no more of its charset than signs and wide spaces, its rows 1 and 2. In
# windows-1252 those are an inverted exclamation mark or a cent sign within a word.
_EAST_ASIAN_SIGNS = re.compile(rb"(?:[\x00-\x7f]++|(?:[\xa1\xa2][\x40-\x7e\xa1-\xfe])++(?![A-Za-z]))++")
_EAST_ASIAN_SIGN = re.compile(rb"[\xa1\xa2][\x40-\x7e\xa1-\xfe]")
_ASCII_TRAIL = re.compile(rb"[\xa1\xa2][\x40-\x7e]")
# Frequent characters beside ASCII of text in Latin script. On a tie the first charset wins.
_PUNCTUATION = "’‘“”„–—•…®©™£€°«»·§\xa0"
_LATIN = {
    "cp1252": "éèêëàâäáãåçñóòôöõíìîïúùûüßøæœÉÀÄÅÇÑÖÜØÆ¡¿²½´ºª" + _PUNCTUATION,
    "cp1254": "şğıİöüçŞĞÖÜÇâî" + _PUNCTUATION,
    "cp1250": "ěščřžýáíéůúňťďĚŠČŘŽÁÍÉŮÚąćęłńóśźżĄĆĘŁŃÓŚŹŻőűöüäôăâîşţ" + _PUNCTUATION,
}
_HIGH = re.compile(rb"[\x80-\xff]")
_GENERAL = ["cp1256", "cp1257", "cp1258", "iso8859_6", "iso8859_8", "iso8859_2"]


def detect_charset(data: bytes) -> str | None:
    """Return the Python codec that `data` is most likely in; None without a good guess.

    Looks at the 2 KiB from the first byte on that is not ASCII.
    """
    sample = _take_sample(data)
    if not sample:
        return None
    if len(_EAST_ASIAN_SIGN.findall(sample)) > 1 and _EAST_ASIAN_SIGNS.fullmatch(sample):
        return "cp950" if _ASCII_TRAIL.search(sample) else "gb18030"
    if looks_western(sample):
        return max(_LATIN, key=lambda codec: _count_usual(sample, codec))
    return _detect_by_letters(sample) or _detect_east_asian(sample) or _detect_general(sample)


def contradicts_latin(data: bytes) -> bool:
    """Return whether `data` is so plainly in another script that a label which names a Latin charset cannot be true."""
    if looks_western(data):
        return False
    sample = _take_sample(data)
    score, _ = _find_by_letters(sample)
    high = sum(map(len, _HIGH_RUN.findall(sample)))
    least = next(least for most, least in _LEAST_SCORE_AGAINST_LABEL if high <= most)
    return score >= least or (high > _TOO_FEW_EAST_ASIAN and _detect_east_asian(sample) is not None)


def _count_usual(sample: bytes, codec: str) -> int:
    return sum(map(sample.decode(codec, "replace").count, _LATIN[codec]))


def _take_sample(data: bytes) -> bytes:
    first = _HIGH.search(data)
    return data[first.start() : first.start() + _SAMPLE_BYTES] if first else b""


def looks_western(data: bytes) -> bool:
    """Return whether 8-bit bytes stand mostly as accented letters, punctuation and signs do in text in Latin script.

    Whole words of them are another script under a wrong Latin label, unless all letters are of one Latin alphabet.
    """
    runs = _HIGH_RUN.findall(_ORNAMENT.sub(b" ", _take_sample(data)))
    total = sum(map(len, runs))
    if total < _FEWEST_BYTES_OF_ANOTHER_SCRIPT:
        return True
    return sum(len(run) for run in runs if _is_western(run)) >= _WESTERN_SHARE * total


def _is_western(run: bytes) -> bool:
    return len(run) <= 2 or all(map(_LATIN_WORD.fullmatch, _WESTERN_PUNCTUATION.split(run)))


def _compile_latin_word() -> re.Pattern[bytes]:
    """Up to two letters or signs of windows-1252, or any number from one of the alphabets (Turkish: windows-1254)."""
    words = [rb"[\x80\x83\x8a\x8c\x8e\x99-\x9c\x9e-\xa3\xa7\xa9\xaa\xae\xb1\xb5\xba\xbf-\xff]{0,2}"]
    for alphabet in _ALPHABETS.split():
        codec = "cp1254" if "ş" in alphabet else "cp1252"
        either_case = (alphabet + alphabet.replace("ı", "İ").upper()).replace("SS", "ß")
        words.append(rb"[" + either_case.encode(codec) + rb"]+")
    return re.compile(rb"|".join(words))


_LATIN_WORD = _compile_latin_word()


def _detect_by_letters(sample: bytes) -> str | None:
    score, best = _find_by_letters(sample)
    return best if score >= _LEAST_LETTER_SCORE else None


def _find_by_letters(sample: bytes) -> tuple[float, str]:
    """Return the single-byte charset in which the letters are most usual, with its score."""
    high = b" ".join(_HIGH_RUN.findall(sample))
    return max((_score_letters(high, codec), codec) for codec in _SINGLE_BYTE)


def _score_letters(high: bytes, codec: str) -> float:
    """Return how usual the letters are on average (log of percent): 1.6 for real text, 0.2 for a wrong charset."""
    text = high.decode(codec, "replace")
    scores = _letter_scores(_SINGLE_BYTE[codec])
    letters = [scores.get(character, _FOREIGN_SCORE) for character in text if character != " "]
    if len(letters) < 2:
        return _FOREIGN_SCORE
    return (sum(letters) - _FLIP_PENALTY * len(_CASE_FLIP.findall(text))) / len(letters) - _RARITY.get(codec, 0)


@cache
def _letter_scores(percentages: str) -> dict[str, float]:
    lower = {item[0]: math.log(float(item[1:])) for item in percentages.split()}
    upper = {letter.upper(): score - _UPPER_PENALTY for letter, score in lower.items()}
    return upper | lower


# The most frequent characters of ordinary text in each charset, encoded: kana, everyday hanzi, hangul.
_EAST_ASIAN = {
    "cp932": re.compile(rb"\x82[\x9f-\xf1]|\x83[\x40-\x96]|\x81[\x41\x42\x5b]"),
    "euc_jp": re.compile(rb"[\xa4\xa5][\xa1-\xf6]|\xa1[\xa2\xa3\xbc]"),
    "cp949": re.compile(rb"[\xb0-\xc8][\xa1-\xfe]"),
    "gb18030": re.compile(rb"[\xb0-\xd7][\xa1-\xfe]|\xa3[\xa1-\xfe]|\xa1[\xa2\xa3\xb6-\xbf]"),
    "cp950": re.compile(rb"[\xa4-\xc6][\x40-\x7e\xa1-\xfe]|\xa1[\x41-\x44]"),
}
_KANA = ("cp932", "euc_jp")
_LEAST_KANA_SHARE = 0.35
_MOST_BROKEN_SHARE = 0.05
_SHORTEST_KOREAN = 5


def _detect_east_asian(sample: bytes) -> str | None:
    """Return the charset that the sample is valid in; if it is in none, the one in which least of it is broken."""
    return _detect_in_runs(sample, errors="strict") or _detect_in_runs(sample, errors="replace")


def _detect_in_runs(sample: bytes, *, errors: str) -> str | None:
    shares = {codec: _usual_share(sample, codec, errors=errors) for codec in _EAST_ASIAN}
    japanese = max(_KANA, key=shares.__getitem__)
    if shares[japanese] >= _LEAST_KANA_SHARE:
        return japanese
    best = max(shares, key=shares.__getitem__)
    return best if shares[best] >= _LEAST_EAST_ASIAN_SHARE else None


def _usual_share(sample: bytes, codec: str, *, errors: str) -> float:
    """Return the share of the non-ASCII characters that is usual for that charset; 0 for bytes that are invalid in it.

    Everyday hangul lies within everyday hanzi, so that a few characters alone are taken for Chinese.
    """
    text = _decode_sample(sample, codec, errors=errors)
    if text is None or _MOST_BROKEN_SHARE * len(text) < text.count("\ufffd"):
        return 0
    characters = [character.encode(codec, "ignore") for character in text if character > "\x7f"]
    usual = sum(_EAST_ASIAN[codec].fullmatch(character) is not None for character in characters)
    shortest = _SHORTEST_KOREAN if codec == "cp949" else 2
    return usual / len(characters) if len(characters) >= shortest else 0


def _decode_sample(sample: bytes, codec: str, *, errors: str) -> str | None:
    """Return the sample as text; it may end within a character."""
    for cut in (0, 1, 2, 3):
        try:
            return sample[: len(sample) - cut].decode(codec, errors)
        except UnicodeDecodeError as error:
            if error.start < len(sample) - 4:
                return None
    return None


def _detect_general(sample: bytes) -> str | None:
    if len(sample) < _SHORTEST_GENERAL_SAMPLE:
        return None
    best = from_bytes(sample, steps=4, chunk_size=512, cp_isolation=_GENERAL, enable_fallback=False).best()
    return best.encoding if best else None
