"""Mechanisms that two or more services share; none of them knows a service."""
