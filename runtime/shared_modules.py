"""Copies the modules that mambaad-runtime shares with mambaad: python shared_modules.py FOLDER.

They are those that its own modules import, and what these import, at any depth. What a function
imports is left out if it needs a package that the runtime does not depend on: the engines of
PyTorch, for one. In the copies, imports from ``mambaad`` are imports from ``mambaad_runtime``, so
that both distributions can be installed side by side.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
OWN = HERE / "src" / "mambaad_runtime"
SHARED = HERE.parent / "src" / "mambaad"
PACKAGES = {
    "PIL", "jaxtyping", "numpy", "onnxruntime", "pydantic", "pydantic_core", "rich", "scipy",
    "typing_extensions", "yaml", "_native",
}  # fmt: skip
"""Top-level names of the packages that the runtime depends on."""


def file_of(module: str) -> Path | None:
    """The file of one of mambaad's modules, ``a.b`` for ``mambaad.a.b``; None if it is none."""
    path = SHARED.joinpath(*module.split("."))
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if module and file.is_file():
            return file
    return None


def imports(file: Path) -> Iterator[tuple[str, bool]]:
    """The modules that a file imports, by full name, and whether only a function does."""

    def visit(node: ast.AST, inside: bool) -> Iterator[tuple[str, bool]]:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.Import):
            yield from ((alias.name, inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module), inside
            yield from ((f"{node.module}.{alias.name}", inside) for alias in node.names)
        inside |= isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for child in ast.iter_child_nodes(node):
            yield from visit(child, inside)

    yield from visit(ast.parse(file.read_text(encoding="utf-8")), False)


def shared(name: str) -> str | None:
    """The name within mambaad of a module of it, ``a.b`` for ``mambaad.a.b``, if it is one."""
    package, _, module = name.partition(".")
    return module if package in ("mambaad", "mambaad_runtime") and file_of(module) else None


def needed(module: str, found: set[str]) -> set[str]:
    """Add a module and all that it imports when it is loaded to ``found``; other packages too."""
    if module in found:
        return found
    found.add(module)
    parts = module.split(".")
    for parent in (".".join(parts[:i]) for i in range(1, len(parts))):
        needed(parent, found)
    file = file_of(module)
    assert file is not None
    for name, inside in imports(file):
        if inside:
            continue
        if (other := shared(name)) is not None:
            needed(other, found)
        elif name.split(".")[0] not in ("mambaad", *sys.stdlib_module_names):
            found.add(f"={name.split('.')[0]}")  # no module of mambaad is called so
    return found


def closure() -> tuple[set[str], set[str]]:
    """The shared modules, and those that functions of them import but that are left out."""
    modules: set[str] = set()
    left_out: set[str] = set()
    waiting = [
        module
        for file in sorted(OWN.glob("*.py"))
        for name, _ in imports(file)
        if (module := shared(name)) is not None
    ]
    while waiting:
        module = waiting.pop()
        if module in modules:
            continue
        more = needed(module, set())
        packages = {name[1:] for name in more if name.startswith("=")}
        if not packages <= PACKAGES:
            left_out.add(module)
            continue
        fresh = {name for name in more if not name.startswith("=")} - modules
        modules |= fresh
        for one in fresh:
            file = file_of(one)
            assert file is not None
            names = (shared(name) for name, inside in imports(file) if inside)
            waiting += [name for name in names if name is not None]
    return modules, left_out


def main(folder: Path) -> None:
    """Write the copies into a folder, at the places that they have in mambaad."""
    modules, _ = closure()
    for module in sorted(modules):
        file = file_of(module)
        assert file is not None
        text = file.read_text(encoding="utf-8")
        text = re.sub(r"(?m)^(\s*)(from|import) mambaad\b", r"\1\2 mambaad_runtime", text)
        target = folder / file.relative_to(SHARED)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
