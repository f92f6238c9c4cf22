"""How a story is written down: a function with a name, for one back end or for each."""

from dataclasses import dataclass
from typing import Callable

from harness.stage import Stage

STORIES = []


@dataclass
class Story:
    name: str
    stage: Callable
    tell: Callable


def story(name, io=(None,), **stage):
    """Makes a function a story; with several back ends it is told once on each."""

    def write_down(function):
        for one in io:
            ending = f", on {one}" if one else ""
            tell = (lambda s, one=one: function(s, one)) if one else function
            STORIES.append(Story(name + ending, lambda: Stage(**stage), tell))
        return function

    return write_down
