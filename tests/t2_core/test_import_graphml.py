"""GraphML as NetworkX, yEd and the Topology Zoo write it; held against networkx, which wrote or reads the same."""

from __future__ import annotations

import io

import networkx
import pytest

from daemons.lab import loader
from daemons.lab.imports.reading import Imported, read
from daemons.lab.imports.report import Unreadable
from daemons.lab.lab import Lab

ZOO = """\
<?xml version="1.0" encoding="utf-8"?>
<graphml xmlns="http://graphml.graphdrawing.org/xmlns" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
  <key attr.name="LinkLabel" attr.type="string" for="edge" id="d35" />
  <key attr.name="Latitude" attr.type="double" for="node" id="d29" />
  <key attr.name="label" attr.type="string" for="node" id="d33" />
  <graph edgedefault="undirected">
    <data key="d0">2010</data>
    <node id="0"><data key="d29">47.37</data><data key="d33">Zürich</data></node>
    <node id="1"><data key="d33">New York, NY</data></node>
    <node id="2"><data key="d33">New York, NY</data></node>
    <node id="3"><data key="d33">Los Angeles, California (downtown 2)</data></node>
    <node id="4"/>
    <edge source="0" target="1"><data key="d35">OC-48</data></edge>
    <edge source="1" target="2"/>
    <edge source="1" target="3"/>
    <edge source="1" target="1"/>
    <edge source="1" target="9"/>
  </graph>
</graphml>
"""
YED = """\
<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<graphml xmlns="http://graphml.graphdrawing.org/xmlns" xmlns:y="http://www.yworks.com/xml/graphml">
  <!--Created by yEd 3.23-->
  <key for="node" id="d6" yfiles.type="nodegraphics"/>
  <key attr.name="kind" attr.type="string" for="node" id="d4"/>
  <graph edgedefault="directed" id="G">
    <node id="n0"><data key="d6"><y:ShapeNode><y:NodeLabel alignment="center">core
      <y:LabelModel/></y:NodeLabel></y:ShapeNode></data></node>
    <node id="n1"><data key="d4">external</data><data key="d6"><y:ShapeNode><y:NodeLabel>fw</y:NodeLabel></y:ShapeNode>
    </data></node>
    <node id="n2" yfiles.foldertype="group"><graph id="n2:" edgedefault="directed"><node id="n2::n0"/></graph></node>
    <edge id="e0" source="n0" target="n1" sourceport="ge-0/0/1" targetport="wan"/>
    <edge id="e1" source="n1" target="n0"/>
    <edge id="e2" source="n0" target="n2::n0"/>
  </graph>
</graphml>
"""


def imported(text: str, hosts: str = "netns") -> tuple[Imported, Lab]:
    found = read(text, "x/some graph.graphml", hosts)
    return found, loader.parse(found.topo.to_yaml()).lab


def said(found: Imported) -> str:
    return "\n".join(found.report.lines())


@pytest.mark.parametrize(
    "graph",
    [
        networkx.karate_club_graph(), networkx.petersen_graph(), networkx.star_graph(7), networkx.balanced_tree(3, 3),
        networkx.path_graph(5), networkx.barbell_graph(4, 2), networkx.grid_2d_graph(3, 3),
    ],
)  # fmt: skip
def test_what_networkx_writes(graph: networkx.Graph) -> None:
    data = io.BytesIO()
    networkx.write_graphml(networkx.relabel_nodes(graph, str), data)
    _, lab = imported(data.getvalue().decode())
    assert lab.name == "some-graph"
    assert len(lab.switches) == sum(degree > 1 for _, degree in graph.degree())
    assert {host.kind for host in lab.hosts.values()} <= {"netns"}
    made = networkx.Graph([(link.a.node, link.b.node) for link in lab.links])
    assert networkx.is_isomorphic(made, networkx.Graph(graph.edges))
    assert bool(lab.blocked) == (not networkx.is_tree(graph))
    addresses = {str(a) for h in lab.hosts.values() for n in h.nics.values() for i in n.interfaces for a in i.addresses}
    assert addresses == {f"10.0.0.{i}/24" for i in range(1, len(lab.hosts) + 1)}


def test_a_topology_zoo_file() -> None:
    found, lab = imported(ZOO, "userspace")
    assert list(lab.switches) == ["New-York-NY"]
    assert list(lab.hosts) == ["Zurich", "New-York-NY-2", "Los-Angeles-California-downtown"]
    assert {host.kind for host in lab.hosts.values()} == {"host"}
    for part in (
        ":3: not carried over: 'LinkLabel' (of edge)", ":4: not carried over: 'Latitude'",
        ":8: node '0' is called Zurich",
        ":10: node '2' is called New-York-NY-2 now", ":12: left out: node '4' has no edge",
        ":16: left out: an edge joins '1'",
        ":17: left out: an edge; there is no node '9'", "hosts without an address got one of 10.0.0.0/24: 3",
    ):  # fmt: skip
        assert part in said(found)


def test_a_yed_file() -> None:
    found, lab = imported(YED)
    assert list(lab.switches) == ["core"] and {host.name: host.kind for host in lab.hosts.values()} == {
        "fw": "external", "n2-n0": "netns"
    }  # fmt: skip
    assert {str(link) for link in lab.links} == {"core:ge-0-0-1 - fw:wan", "core:eth1 - n2-n0:eth0"}
    assert "joined already, the other way" in said(found) and "a graph inside a graph" in said(found)


def test_addresses_and_kinds_that_the_file_gives() -> None:
    graph = networkx.Graph()
    graph.add_node("a", ip="10.1.0.1/16", kind="host")
    graph.add_node("b", address="10.1.0.2, 10.1.0.0/16")
    graph.add_node("s", kind="Switch")
    graph.add_edges_from([("a", "s"), ("b", "s")])
    data = io.BytesIO()
    networkx.write_graphml(graph, data)
    found, _ = imported(data.getvalue().decode())
    assert found.topo.nodes["a"] == {"kind": "netns", "addresses": ["10.1.0.1/16"]}
    assert found.topo.nodes["b"]["addresses"] == ["10.1.0.2/24"] and "'10.1.0.0/16' is no address" in said(found)


def test_two_leaves_have_a_wire() -> None:
    _, lab = imported('<graphml><graph><node id="a"/><node id="b"/><edge source="a" target="b"/></graph></graphml>')
    assert list(lab.switches) == ["wires"] and set(lab.hosts) == {"a", "b"}


BOMB = (
    '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>'
    '<graphml><graph><node id="&b;"/></graph></graphml>'
)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (BOMB, "a DOCTYPE, or an entity, is refused"),
        ('<!DOCTYPE graphml SYSTEM "file:///etc/passwd"><graphml/>', "a DOCTYPE, or an entity, is refused"),
        ("<graphml><graph>&x;</graph></graphml>", "this is not XML: undefined entity"),
        ("<svg/>", "this is 'svg', and no graphml"),
        ("<graphml>", "this is not XML"),
        ("<graphml><graph/></graphml>", "there is no node in it"),
        ("<a>" * 200, "nested more than 100 deep"),
        ("<graphml><graph>" + "".join(f'<node id="{i}"/>' for i in range(2001)), "more than 2000 nodes"),
        ("<graphml>\ud800</graphml>", "no node in it"),
    ],
)
def test_what_nothing_can_be_made_of(text: str, sentence: str) -> None:
    with pytest.raises(Unreadable) as caught:
        read(text, "x.graphml")
    assert sentence in str(caught.value)
