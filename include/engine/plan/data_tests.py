"""Which task runs a data test, and which nodes wait for it.

The rule is dbt's own (dbt-core: Linker.add_test_edges_1): a failed test skips every node that is
downstream of everything the test reads.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import reduce
from operator import and_, or_

from include.engine.manifest.records import Node

TESTS = frozenset(("test", "unit_test"))

BitSet = int
"""A set of tests as one integer: bit n is set if test number n is in the set.

`|` unites and `&` intersects two such sets at once, however many tests they hold.
"""


def assign_tests(
    order: Iterable[str], nodes: Mapping[str, Node]
) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Which node each data test runs with, and which tests block a node.

    A test runs with its model. A test over several models runs with the most downstream one. If
    none is downstream of all the others, the test gets a task of its own: the first mapping then
    names the test itself.

    The second mapping names, for a node, the tests with a task of their own whose parents are all
    ancestors of the node. It leaves out what a parent of the node waits for already.

    Each parent of a test has a position in it. `reached[node][position]` are the tests whose parent
    at that position is the node or an ancestor of it. A test that is in the sets of all positions
    has all its parents there. `order` has each node after its parents.
    """
    tests = [node for node in nodes.values() if node.resource_type == "test"]
    owners = {t.unique_id: t.parents[0] if len(t.parents) == 1 else t.unique_id for t in tests}
    numbered = [test for test in tests if len(test.parents) > 1]
    positions = range(max((len(test.parents) for test in numbered), default=0))
    read_by = _tests_by_parent(numbered, positions)

    reached: dict[str, list[BitSet]] = {}
    complete_above: dict[str, BitSet] = {}  # all parents of the test are ancestors of the node
    blocking: dict[str, list[str]] = {}
    for unique_id in order if numbered else ():
        if nodes[unique_id].resource_type in TESTS:
            continue
        parents = nodes[unique_id].parents
        above = [_unite(reached[parent][position] for parent in parents) for position in positions]
        complete_above[unique_id] = reduce(and_, above)
        own = read_by.get(unique_id)
        reached[unique_id] = [a | b for a, b in zip(above, own, strict=True)] if own else above
        completed_here = reduce(and_, reached[unique_id]) & ~complete_above[unique_id]
        for number in _numbers(completed_here):
            owners[numbered[number].unique_id] = unique_id
        new = complete_above[unique_id] & ~_unite(complete_above[parent] for parent in parents)
        ids = [numbered[number].unique_id for number in _numbers(new)]
        blocking[unique_id] = [test for test in ids if owners[test] == test]
    return owners, blocking


def _tests_by_parent(numbered: Sequence[Node], positions: range) -> dict[str, list[BitSet]]:
    """For each parent the tests that have it at each position.

    A test with fewer parents than there are positions has its last parent at those left over.
    """
    by_parent: dict[str, list[BitSet]] = defaultdict(lambda: [0 for _ in positions])
    for number, test in enumerate(numbered):
        for position in positions:
            parent = test.parents[min(position, len(test.parents) - 1)]
            by_parent[parent][position] |= 1 << number
    return by_parent


def _unite(sets: Iterable[BitSet]) -> BitSet:
    return reduce(or_, sets, 0)


def _numbers(tests: BitSet) -> Iterator[int]:
    """The numbers of the tests in the set, in order."""
    while tests:
        lowest = tests & -tests
        yield lowest.bit_length() - 1
        tests ^= lowest
