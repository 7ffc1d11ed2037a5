"""Numbers and sizes as people read them."""

_UNITS = ("kB", "MB", "GB", "TB")


def number(value: int) -> str:
    """Return a number with its thousands apart."""
    return f"{value:,}"


def counted(value: int, one: str, more: str = "") -> str:
    """Return a number with its noun: `1 message`, `2 messages`."""
    return f"{value:,} {one if value == 1 else more or one + 's'}"


def size(count: int) -> str:
    """Return a number of bytes with a unit of thousands."""
    if count < 1000:
        return f"{count} B"
    value = float(count)
    for unit in _UNITS:
        value /= 1000
        if value < 999.95 or unit == _UNITS[-1]:
            break
    return f"{value:.1f} {unit}" if value < 10 else f"{value:.0f} {unit}"
