"""HTTP exchanges with Gmail: connections, deadlines, and the mapping of error answers."""
