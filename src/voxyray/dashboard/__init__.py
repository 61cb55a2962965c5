"""The web pages: calls as they happen and as they went, agents, the outbox."""

from voxyray.dashboard.site import Dashboard, Visit

__all__ = ["Dashboard", "Visit"]
