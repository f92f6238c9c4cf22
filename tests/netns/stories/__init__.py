"""All stories, in the order in which they are told."""

from . import host, kernel, life, load, losses, outside, replay, steering  # noqa: F401: they write themselves down
from .telling import STORIES

__all__ = ["STORIES"]
