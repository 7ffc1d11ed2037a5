"""The Gmail adapter: calls, batches, history, downloads, push and limits. Only here does mail know Gmail's names."""
