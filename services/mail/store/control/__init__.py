"""Control tables: mailboxes, schedule, leases, workers, watches, quota watermarks and erasures. Never mail itself."""
