"""YAML 1.2, as our files have it: safe types, every field once and in its order, no aliases, not nested deep.

A text may come from anywhere. Needs ruamel.yaml, so no deploy folder has this module.
"""

import copy
import functools
import io
import re
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import AliasEvent
from ruamel.yaml.nodes import ScalarNode

MAX_DEPTH = 20  # fields within fields


class _Plain(Composer):
    """Makes values of YAML without aliases, a few lines of which can expand to gigabytes, and whose texts are text."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """See the base class."""
        if self.parser.check_event(AliasEvent):
            raise YAMLError("aliases (*name) are not allowed here")
        node = super().compose_node(parent, index)
        if isinstance(node, ScalarNode):
            node.value.encode()  # half a character, as of "\ud800", can be neither printed nor written
        return node


def _yaml() -> YAML:
    yaml: Any = YAML(typ="safe", pure=True)
    yaml.Composer = _Plain
    yaml.max_depth = MAX_DEPTH
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False
    return yaml  # type: ignore[no-any-return]


def parsed(text: str) -> Any:
    """Return what a text says, of any type.

    Raises:
        YAMLError: it is no YAML, or has what is not allowed here.
        ValueError, TypeError, AttributeError, RecursionError: the same, of the library's constructors.
    """
    if re.search("^%", text, re.MULTILINE):  # one asks for YAML 1.1, where 1:1:1:... is a number that takes hours
        raise YAMLError("directives (%YAML, %TAG) are not allowed here")
    return copy.deepcopy(_loaded(text))


@functools.lru_cache(maxsize=16)  # every stage of a command asks for the same file again, which takes long to parse
def _loaded(text: str) -> Any:
    return _yaml().load(text)


def written(fields: dict[str, Any], *, width: int = 80) -> str:
    """Return nested fields as a text; what is longer than `width` goes on in the next line, where it can."""
    yaml: Any = _yaml()
    yaml.width = width
    stream = io.StringIO()
    yaml.dump(fields, stream)
    return stream.getvalue()
