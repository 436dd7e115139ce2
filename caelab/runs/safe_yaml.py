"""Reading YAML from untrusted hands: no code, no key twice, and no text that unfolds to more than its size."""

from __future__ import annotations

from typing import Any

import yaml

from caelab.errors import CaelabError

LARGEST = 2**18  # bytes of a text
DEEPEST = 50  # lists and mappings inside each other
MOST = 100_000  # values, each as often as an alias repeats it


class Strict(yaml.SafeLoader):
    """YAML without Python's tags, in which a key that stands twice is a mistake; PyYAML itself keeps the last one."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Read the next node, if it is not too deep."""
        self.depth += 1
        if self.depth > DEEPEST:
            raise _refused(f"its lists and mappings are more than {DEEPEST} deep")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Read a mapping, if its keys are all different."""
        keys = [key.value for key, _ in node.value]
        for place, key in enumerate(keys):
            if key in keys[:place]:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice", node.value[place][0].start_mark
                )
        return super().construct_mapping(node, deep)


def read_yaml(text: str | bytes) -> Any:
    """The value that a text in YAML holds.

    >>> read_yaml("{a: [1, 2]}")
    {'a': [1, 2]}

    Raises:
        CaelabError: it is no YAML, too long, too deep, or unfolds to too many values; a clause that says why.
    """
    if len(text) > LARGEST:
        raise _refused(f"it is longer than {LARGEST} bytes")
    try:
        loader = Strict(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _values(node, {})
        return loader.construct_document(node)
    except (yaml.YAMLError, ValueError, TypeError, OverflowError) as error:  # a date, a number that is none
        raise _refused(" ".join(str(error).split())) from error


def _values(node: yaml.Node, known: dict[int, int | None]) -> int:
    """How many values a node holds, itself included, with every alias unfolded."""
    if id(node) in known:
        count = known[id(node)]
        if count is None:
            raise _refused("an alias in it stands inside what it names")
        return count
    known[id(node)] = None
    inside = node.value if isinstance(node, yaml.CollectionNode) else []
    parts = [part for each in inside for part in (each if isinstance(each, tuple) else (each,))]
    known[id(node)] = count = 1 + sum(_values(part, known) for part in parts)
    if count > MOST:
        what = "its aliases unfold to" if len(known) <= MOST else "it holds"
        raise _refused(f"{what} more than {MOST} values")
    return count


def _refused(reason: str) -> CaelabError:
    return CaelabError(reason)
