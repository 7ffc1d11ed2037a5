"""Counts of the calls that the sandbox served."""

from collections import Counter, defaultdict


class CallCounts:
    """Counts by method and status, and by user and method."""

    def __init__(self) -> None:
        self._by_status: defaultdict[str, Counter[int]] = defaultdict(Counter)
        self._by_user: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def record(self, method: str, user: str | None, status: int) -> None:
        """Count one call; `user` is an e-mail address, None if unknown."""
        self._by_status[method][status] += 1
        if user is not None:
            self._by_user[user][method] += 1

    def clear(self) -> None:
        """Reset all counts."""
        self._by_status.clear()
        self._by_user.clear()

    def report(self) -> dict[str, object]:
        """Return `methods` with their calls and statuses, and `users` with their methods."""
        return {
            "methods": {
                method: {"calls": counts.total(), "by_status": {str(status): n for status, n in sorted(counts.items())}}
                for method, counts in sorted(self._by_status.items())
            },
            "users": {user: dict(counts) for user, counts in sorted(self._by_user.items())},
        }
