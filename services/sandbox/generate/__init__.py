"""Generated mail, reproducible from a seed."""
