"""Requests to Gmail and their answers: connections, deadlines, and what errors mean."""
