"""Reading stored mail: lists, threads, exports and the change feed. Calls no provider and writes no data."""
