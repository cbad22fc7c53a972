"""Fail where a file, a function or the import graph of bascule has outgrown its budget.

Files have at most 400 lines, functions at most 60 (docstring counted), and no module imports itself
through others, not even by an import inside a function. Each offence is one line, ``file:line:
what``. Complexity is ruff's.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

FILE_LINES = 400
FUNCTION_LINES = 60


class Module(NamedTuple):
    """One source file and what it imports: the name of a module and the line that names it."""

    path: Path
    tree: ast.Module
    imports: dict[str, int]


def main(arguments: list[str]) -> int:
    """Check the tree below the given folder (``src``) and print each offence."""
    root = Path(arguments[0] if arguments else "src")
    offences: list[str] = []
    trees: dict[str, tuple[Path, ast.Module]] = {}
    for path in sorted(root.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text, str(path))
        trees[module_name(path.relative_to(root))] = path, tree
        offences += too_long(path, text, tree)
    modules = {
        name: Module(path, tree, dict(imports(name, path, tree, trees.keys())))
        for name, (path, tree) in trees.items()
    }
    offences += [describe(cycle, modules) for cycle in cycles(modules)]
    print("\n".join(offences) or f"{len(modules)} files within their budgets")
    return bool(offences)


def module_name(relative: Path) -> str:
    """``bascule/host/__init__.py`` is ``bascule.host``."""
    parts = relative.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def too_long(path: Path, text: str, tree: ast.Module) -> Iterator[str]:
    """The file and its functions, where they have too many lines."""
    lines = len(text.splitlines())
    if lines > FILE_LINES:
        yield f"{path}:{FILE_LINES + 1}: file has {lines} lines, {FILE_LINES} are allowed"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES:
                yield (
                    f"{path}:{node.lineno}: {node.name}() has {lines} lines, {FUNCTION_LINES} "
                    f"are allowed"
                )


def imports(
    name: str, path: Path, tree: ast.Module, known: Iterable[str]
) -> Iterator[tuple[str, int]]:
    """The known modules that this one imports. ``from a import b`` means ``a.b`` where that is a
    module, else ``a``."""
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join(above + ([node.module] if node.module else []))
            targets = [
                full if (full := f"{base}.{alias.name}") in known else base for alias in node.names
            ]
        else:
            continue
        for target in targets:
            if target in known and target != name:
                yield target, node.lineno


def cycles(modules: Mapping[str, Module]) -> Iterator[list[str]]:
    """For each set of modules that reach each other, one shortest way round."""
    seen: set[str] = set()
    for name in modules:
        if name not in seen and (cycle := way_back(name, modules)):
            seen.update(cycle)
            yield cycle


def way_back(start: str, modules: Mapping[str, Module]) -> list[str]:
    """The shortest chain of imports from a module to itself; empty where there is none."""
    chains = [[start]]
    visited: set[str] = set()
    for chain in chains:  # grows as it is read: a breadth-first search
        for target in modules[chain[-1]].imports:
            if target == start:
                return chain
            if target not in visited:
                visited.add(target)
                chains.append([*chain, target])
    return []


def describe(cycle: list[str], modules: Mapping[str, Module]) -> str:
    """A cycle as an offence, placed at its first import."""
    module = modules[cycle[0]]
    line = module.imports[[*cycle, cycle[0]][1]]
    return f"{module.path}:{line}: import cycle {' -> '.join([*cycle, cycle[0]])}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
