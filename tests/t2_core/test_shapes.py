"""Shapes by a word: held against networkx's graphs of the same name, and against the loader."""

from __future__ import annotations

from collections.abc import Callable

import networkx
import pytest

from daemons.lab import loader, shapes
from daemons.lab.imports import building
from daemons.lab.shapes import SHAPES, ShapeError, parse
from daemons.lab.topo import Topo

WORDS = [
    "minimal", "single", "single,4", "reversed,3", "linear,4", "linear,switches=3,hosts=2", "tree,2,3", "tree,fanout=3",
    "ring,6", "ring,3,hosts=0", "torus,3,4", "leaf-spine,2,4", "leaf_spine,1,2", "leaf-spine,3,2,hosts=4", "fat-tree,4",
    "fat-tree,k=2", "Tree, depth=2 , fanout=2",
]  # fmt: skip


def cables(topo: Topo, kind: str = "switch") -> networkx.MultiGraph:
    """The switches with their cables; with kind "" everybody."""
    graph = networkx.MultiGraph()
    graph.add_nodes_from(name for name in topo.nodes if topo.kind(name) == kind or not kind)
    for link in topo.links:
        one, other = (end.partition(":")[0] for end in link["endpoints"])
        if one in graph and other in graph:
            graph.add_edge(one, other)
    return graph


@pytest.mark.parametrize("words", WORDS)
def test_the_loader_takes_it_without_a_warning(words: str) -> None:
    topo = parse(words)
    loaded = loader.parse(topo.to_yaml())
    assert loaded.warnings == ()
    assert len(loaded.lab.links) == len(topo.links) and {*loaded.lab.switches, *loaded.lab.hosts} == set(topo.nodes)
    assert networkx.is_connected(cables(topo, ""))
    addresses = [str(a.ip) for h in loaded.lab.hosts.values() for a in h.nics["eth0"].interfaces[0].addresses]
    assert addresses == [f"10.0.0.{i}" for i in range(1, len(addresses) + 1)]
    left = networkx.Graph(list(cables(topo).edges()))
    assert len(loaded.lab.blocked) == max(0, left.size() - max(0, len(left) - 1)), "a tree is left"


@pytest.mark.parametrize(
    ("words", "like"),
    [
        ("ring,6", lambda: networkx.cycle_graph(6)),
        ("linear,5", lambda: networkx.path_graph(5)),
        ("tree,3,2", lambda: networkx.balanced_tree(2, 2)),
        ("torus,3,4", lambda: networkx.grid_2d_graph(3, 4, periodic=True)),
        ("leaf-spine,2,3", lambda: networkx.complete_bipartite_graph(2, 3)),
    ],
)
def test_its_switches_are_the_graph_of_that_name(words: str, like: Callable[[], networkx.Graph]) -> None:
    assert networkx.is_isomorphic(networkx.Graph(cables(parse(words))), like())


@pytest.mark.parametrize("k", [2, 4, 6])
def test_a_fat_tree_has_the_numbers_of_the_paper(k: int) -> None:
    topo = parse(f"fat-tree,{k}")
    graph = cables(topo, "")
    assert sum(topo.kind(name) == "host" for name in topo.nodes) == k**3 // 4
    switches = {word: [n for n in graph if n.rstrip("0123456789") == word] for word in ("core", "agg", "edge")}
    assert [len(found) for found in switches.values()] == [k * k // 4, k * k // 2, k * k // 2]
    assert all(graph.degree(name) == k for found in switches.values() for name in found), "every switch has k ports"
    assert not any(networkx.Graph(graph).has_edge(a, b) for a in switches["core"] for b in switches["edge"])


def test_ports_and_names_are_those_that_one_guesses() -> None:
    topo = parse("linear,2")
    assert list(topo.nodes) == ["s1", "s2", "h1", "h2"]
    assert [link["endpoints"] for link in topo.links] == [
        ["s1:eth1", "h1:eth0"], ["s2:eth1", "h2:eth0"], ["s1:eth2", "s2:eth2"]
    ]  # fmt: skip
    assert [link["endpoints"][0] for link in parse("reversed,3").links] == ["s1:eth3", "s1:eth2", "s1:eth1"]
    assert topo.name == "linear-2-1" and "vfab topo linear,switches=2,hosts=1\n" in topo.to_yaml()


def test_many_hosts_have_a_wider_network() -> None:
    lab = loader.parse(parse("single,300").to_yaml()).lab
    interface = lab.hosts["h300"].nics["eth0"].interfaces[0]
    assert str(interface.addresses[0]) == "10.0.1.44/23"
    assert len({host.nics["eth0"].interfaces[0].addresses[0].network for host in lab.hosts.values()}) == 1


def test_hosts_of_another_kind() -> None:
    topo = parse("single,2", "netns")
    assert [topo.kind(name) for name in topo.nodes] == ["switch", "netns", "netns"]
    assert {host.kind for host in loader.parse(topo.to_yaml()).lab.hosts.values()} == {"netns"}


@pytest.mark.parametrize("words", WORDS)
def test_its_size_is_known_before_it_is_made(words: str) -> None:
    topo = parse(words)
    name, numbers = shapes._read(words)
    assert SHAPES[name].size(**numbers) == (len(topo.nodes), len(topo.links))


def test_limits_are_the_loaders() -> None:
    assert (shapes.MOST_NODES, shapes.MOST_LINKS) == (loader.MOST_NODES, loader.MOST_LINKS)
    assert (building.MOST_NODES, building.MOST_CABLES) == (loader.MOST_NODES, loader.MOST_LINKS)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("", "there is no shape ''; shapes are minimal, single, "),
        ("singel,3", "did you mean 'single'?"),
        ("single,4,5", "'5' is more than single takes; write single,[hosts=2]"),
        ("single,-1", "'-1' is no number for hosts of single"),
        ("single,٣", "is no number for hosts"),
        ("single,0", "hosts of single can be 1 to 2000, not 0"),
        ("single,1,hosts=1", "hosts of single stands there twice"),
        ("tree,depht=2", "tree has no 'depht'; did you mean 'depth'?"),
        ("ring,2", "switches of ring can be 3 to 2000, not 2"),
        ("fat-tree,3", "k of fat-tree is an even number, not 3"),
        ("torus,3", "torus needs its y; write torus,X,Y,[hosts=1]"),
        ("tree,12,100", "a lab may have 2000 and 4000"),
        ("leaf-spine,100,100", "a lab may have 2000 and 4000; take smaller numbers"),
        ("single," + "9" * 3000, "a shape has a few words, and this has 3007 characters"),
        ("x\n\x1b[2J", r"there is no shape 'x\n\x1b[2j'"),
    ],
)
def test_wrong_words_are_one_sentence(words: str, sentence: str) -> None:
    with pytest.raises(ShapeError) as caught:
        parse(words)
    assert sentence in str(caught.value) and str(caught.value).isprintable()


def test_wrong_hosts_are_one_sentence() -> None:
    with pytest.raises(ShapeError, match="there are userspace and netns"):
        parse("single", "docker")
