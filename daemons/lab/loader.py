"""A lab file -> the lab, or all of its mistakes with their places.

Knows: the order of the checks, and how what is wrong is taken out so that the rest can still be checked.
Refuses to know: any rule itself: those are in `yamltree`, `model`, `resolve`, `graph`, `domains` and `oddities`.
"""

from __future__ import annotations

import importlib.resources
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pydantic import ValidationError

from . import domains, graph, machine_oddities, oddities, sentences, storage_rules, yamltree
from .lab import Lab
from .mistake import LINKS, NODES, At, Finding, LabError, Mistake, did_you_mean, listed, printable, whole_file
from .model import LabFile
from .resolve import Pruned, resolve
from .yamltree import Tree

if TYPE_CHECKING:
    import networkx

SUFFIX = ".fab.yml"
MOST_NODES = 2000  # one machine runs some hundreds of switches and some thousand hosts; more is a slip of the pen
MOST_LINKS = 4000
FATAL: set[At] = {(), ("topology",), NODES}  # what cannot be taken out with anything left to check
ROUNDS = 4  # taking a value out can leave its mapping wrong, and so on upwards


class LoadedLab(NamedTuple):
    """A lab that can be run; `path` is the file's real path, None for text without a file."""

    lab: Lab
    path: Path | None
    warnings: tuple[Mistake, ...]

    @property
    def graph(self) -> networkx.MultiGraph:
        return graph.build(self.lab)


def load(path: str | Path, check: bool = True) -> LoadedLab:
    """Read and check a lab file. Without `check` the graph is not looked at (and networkx not loaded).

    Raises LabError for everything that can be wrong with a file.
    """
    name = str(path)
    try:
        real = Path(path).resolve(strict=True)
        with real.open("rb") as file:
            data = file.read(yamltree.MAX_BYTES + 1)
    except FileNotFoundError:
        raise whole_file(
            name, "there is no such file", "check the name; vfab labs are files that end in .fab.yml"
        ) from None
    except PermissionError:
        raise whole_file(name, "you may not read this file", f"chmod u+r {printable(name)}") from None
    except IsADirectoryError:
        raise whole_file(name, "this is a folder", "name a lab file in it, such as lab.fab.yml") from None
    except (OSError, ValueError, RuntimeError) as error:  # too long a name, NUL in it, a circle of links
        why = getattr(error, "strerror", None) or "this name leads to no file"
        raise whole_file(name, printable(why), "name a lab file") from None
    lab, warnings = _parse(_decoded(data, name), printable(name), check)
    return LoadedLab(lab, real, warnings)


def parse(text: str, filename: str = "<text>", check: bool = True) -> LoadedLab:
    """Like `load`, for text that is already read; `filename` stands in the mistakes."""
    if len(text) > yamltree.MAX_BYTES:
        raise _too_big(filename)
    lab, warnings = _parse(text, printable(filename), check)
    return LoadedLab(lab, None, warnings)


def examples() -> list[str]:
    """The names of the labs that come with the program."""
    folder = importlib.resources.files("topologies")
    return sorted(file.name.removesuffix(SUFFIX) for file in folder.iterdir() if file.name.endswith(SUFFIX))


def find(name_or_path: str | Path) -> Path:
    """The file that somebody means: a path that exists, else NAME.fab.yml here, else an example lab."""
    name = str(name_or_path)
    here = [Path(name), Path(name + SUFFIX)]
    if "/" not in name and name.removesuffix(SUFFIX) in examples():
        here.append(Path(str(importlib.resources.files("topologies") / (name.removesuffix(SUFFIX) + SUFFIX))))
    for candidate in here:
        try:
            if candidate.is_file() or (candidate.exists() and "/" in name):
                return candidate
        except (OSError, ValueError):  # a name that no file can have
            break
    known = examples()
    fix = did_you_mean(name.removesuffix(SUFFIX), known, "give the path of a file")
    raise whole_file(name, "there is no such file and no such example lab", f"{fix} (examples: {listed(known)})")


def _decoded(data: bytes, name: str) -> str:
    if len(data) > yamltree.MAX_BYTES:
        raise _too_big(name)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line, column = before.count(b"\n") + 1, error.start - (before.rfind(b"\n") + 1) + 1
        mistake = Mistake(printable(name), line, column, "this is not UTF-8 text", "save the file as UTF-8")
        raise LabError([mistake]) from None


def _too_big(name: str) -> LabError:
    return whole_file(name, f"this file is larger than {yamltree.MAX_BYTES >> 20} MiB", "a lab file has some kilobytes")


def _parse(text: str, filename: str, check: bool) -> tuple[Lab, tuple[Mistake, ...]]:
    try:
        tree, problems = yamltree.read(text)
    except yamltree.TextError as error:
        raise LabError(Mistake(filename, *spot, what, fix) for spot, what, fix in error.problems) from None
    mistakes = [Mistake(filename, *spot, what, fix) for spot, what, fix in problems]
    _complete(tree)
    file, pruned = _validated(tree, filename, mistakes)
    if file is None:
        raise LabError(mistakes)
    lab, found = resolve(file, pruned)
    whole = not (found or mistakes)
    if check:
        lab, more, warnings = _checked(lab, whole, cables_known=not pruned and not _about_cables(found))
        found += more
    else:
        warnings = []
    mistakes += [_placed(tree, filename, finding) for finding in found]
    if mistakes:
        raise LabError(mistakes)
    return lab, tuple(sorted((_placed(tree, filename, each) for each in warnings), key=lambda each: each[1:3]))


def _complete(tree: Tree) -> None:
    """A lab of storage alone needs no topology."""
    if isinstance(tree.value, dict) and "storage" in tree.value and "topology" not in tree.value:
        spot = tree.value["storage"][0]
        tree.value["topology"] = (spot, Tree({"nodes": (spot, Tree({}, spot))}, spot))


def _about_cables(found: list[Finding]) -> bool:
    return any(finding.at[:2] == LINKS for finding in found)


def _checked(lab: Lab, whole: bool, cables_known: bool) -> tuple[Lab, list[Finding], list[Finding]]:
    """The lab with its blocked links, mistakes and warnings; a check that needs what is missing is left out."""
    if not cables_known:
        return lab, [], []
    mistakes, warnings = graph.islands(lab)
    if not whole:
        return lab, mistakes, []
    try:
        loops = graph.loops(lab)
    except graph.TooMuch:
        what = "this lab has too many links in circles and too many different VLANs to be checked for loops"
        return lab, [*mistakes, Finding(LINKS, what, "split it into several labs", key=True)], []
    if lab.loops == "refuse":
        mistakes += graph.loop_findings(lab, loops)
    else:
        lab = lab.with_blocked(frozenset(loop.link.index for loop in loops))
    parts = domains.broadcast_domains(lab)
    mistakes += domains.duplicates(parts)
    odd = [*oddities.warnings(lab, parts), *storage_rules.oddities(lab.storage), *machine_oddities.oddities(lab, parts)]
    return lab, mistakes, [] if mistakes else [*warnings, *odd]


def _validated(tree: Tree, filename: str, mistakes: list[Mistake]) -> tuple[LabFile | None, Pruned]:
    """The file's model; what is wrong is noted, taken out of the tree, and the rest is validated again."""
    removed: set[At] = set()
    for attempt in range(ROUNDS):
        try:
            file = LabFile.model_validate(tree.plain())
        except ValidationError as error:
            found = sentences.findings(error)
            if attempt == 0:
                mistakes += [_placed(tree, filename, finding) for finding in found]
            ways = {finding.at for finding in found}
            if "name" in sentences.missing(error):  # everything else can be checked under any name
                ways = (ways - {()}) | {("name",)}
            if ways & FATAL:
                return None, Pruned()
            removed |= ways
            _prune(tree, ways)
        else:
            mistakes += _too_many(tree, filename, file)
            return (None if _too_many(tree, filename, file) else file), _pruned(removed)
    return None, Pruned()


def _too_many(tree: Tree, filename: str, file: LabFile) -> list[Mistake]:
    counts = (("nodes", len(file.topology.nodes), MOST_NODES), ("links", len(file.topology.links), MOST_LINKS))
    return [
        _placed(
            tree,
            filename,
            Finding(("topology", what), f"{n} {what} are more than the {most} that a lab may have", fix, True),
        )
        for what, n, most in counts
        if n > most
        for fix in ("split it into several labs and join them with tcp: ports",)
    ]


def _prune(tree: Tree, ways: set[At]) -> None:
    """Take values out of the tree; of a tree that stands in several places (an alias) it goes from all."""
    gone: dict[int, tuple[Tree, set[str | int]]] = {}
    for way in ways:
        parent: Tree | None = tree
        for step in way[:-1]:
            found = parent.child(step) if parent is not None else None
            parent = found[1] if found is not None else None
        if parent is not None and parent.child(way[-1]) is not None:
            gone.setdefault(id(parent), (parent, set()))[1].add(way[-1])
    for parent, steps in gone.values():
        if isinstance(parent.value, dict):
            for step in steps:
                del parent.value[step]
        else:
            parent.value = [item for i, item in enumerate(parent.value) if i not in steps]
    if ("name",) in ways:
        tree.value["name"] = (tree.spot, Tree("lab", tree.spot))


def _pruned(removed: set[At]) -> Pruned:
    return Pruned(
        nodes=frozenset(str(way[2]) for way in removed if way[:2] == NODES and len(way) > 2),
        vlans=frozenset(str(way[1]) for way in removed if way[0] == "vlans" and len(way) > 1),
        links=any(way[:2] == LINKS for way in removed),
        kinds=any(way[:2] in (("topology", "defaults"), ("topology", "kinds")) for way in removed),
        storage=storage_rules.Gone(removed),
        ways=frozenset(removed),
    )


def _placed(tree: Tree, filename: str, finding: Finding) -> Mistake:
    """The finding with its place. A node's own `addresses:` and `mac:` are short for those of its eth0."""
    at = finding.at
    if at[:2] == NODES and at[3:4] == ("interfaces",):
        node = tree.child("topology")
        for step in at[1:3]:
            node = node[1].child(step) if node is not None else None
        inside = node[1].child("interfaces") if node is not None else None
        if inside is None or inside[1].child(at[4] if len(at) > 4 else "") is None:
            at = (*at[:3], *at[5:])
    return Mistake(filename, *tree.spot_of(at, finding.key), finding.what, finding.fix)
