"""What machines say, in words for people."""
