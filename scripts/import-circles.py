#!/usr/bin/env python3
"""Fails where the modules of a crate, or of the Python package, import each other in a circle.

usage: import-circles.py [ROOT]...    (default: every crate of the repository, and python/growthpath)

A path counts for the file that defines what it names, not for the one that passes it on (`pub use`), so a folder's
mod.rs may show what its files hold. Circles are looked for between files, and between the modules beside each other
in every folder. Tests are left out. Only the standard library is needed.
"""
import ast
import pathlib
import re
import sys

WORD = r"[A-Za-z_]\w*"
ITEM = re.compile(rf"\b(?:fn|struct|enum|trait|type|const|static|union|macro_rules!)\s+({WORD})")
# Comments, strings and characters, of which no word counts.
NOISE = re.compile(
    r'//[^\n]*|/\*.*?\*/|b?r(#*)".*?"\1|b?"(?:\\.|[^"\\])*"|b?\'(?:\\[^\n]{1,8}?|[^\\\'\n])\'', re.S
)


def end_of(text, start):
    """Where the block or the statement that begins at or after `start` ends."""
    depth = 0
    for i in range(start, len(text)):
        depth += (text[i] in "{([") - (text[i] in "})]")
        if depth == 0 and (text[i] == "}" or text[i] == ";"):
            return i + 1
    return len(text)


def without_tests(text):
    """The text without what is compiled for tests alone."""
    while test := re.search(r"#\[cfg\(test\)\]", text):
        text = text[: test.start()] + text[end_of(text, test.end()) :]
    return text


def leaves(tree):
    """Every (path, name) of a use tree such as `a::{b, c::d as e}`."""
    tree = tree.strip()
    head, brace, rest = tree.partition("{")
    if brace:
        start = [s for s in head.strip().split("::") if s]
        part, depth = "", 0
        for c in rest[: rest.rindex("}")] + ",":
            depth += (c == "{") - (c == "}")
            if c == "," and depth == 0:
                for path, name in leaves(part) if part.strip() else ():
                    yield start + path, start[-1] if path == ["self"] and start else name
                part = ""
            else:
                part += c
        return
    path, _, name = tree.partition(" as ")
    path = [s.strip() for s in path.split("::") if s.strip()]
    yield path, name.strip() or path[-1]


class Module:
    """One file of a crate: its children, items, imports and the paths in its code."""

    def __init__(self, file, name, parent, folder):
        self.file, self.name, self.parent = file, name, parent
        self.children, self.uses, self.globs = {}, {}, []
        text = without_tests(NOISE.sub(lambda m: "\n" if m[0][0] == "/" else '""', file.read_text()))
        self.items = set(ITEM.findall(text))
        self.wanted = []
        for shown, tree in re.findall(r"\b(pub(?:\([^)]*\))?\s+)?use\s+([^;]+);", text):
            for path, name in leaves(tree):
                self.globs.append(path[:-1]) if name == "*" else self.uses.setdefault(name, path)
                # What a module shows of its own children is no import; what it shows of others is.
                self.wanted.append((path[:-1] if name == "*" else path, bool(shown)))
        code = re.sub(r"\b(?:pub(?:\([^)]*\))?\s+)?use\s+[^;]+;|\bpub\([^)]*\)", "", text).replace("$crate", "crate")
        # A path that does not go on from a dot or from another path.
        self.wanted += [
            (p.split("::"), False) for p in re.findall(rf"(?<![\w:.]){WORD}(?:::{WORD})+", re.sub(r"\s*::\s*", "::", code))
        ]
        # Macros are named alone.
        self.wanted += [([m], False) for m in re.findall(rf"(?<![\w:])({WORD})!\s*[({{\[]", code)]
        for child in re.findall(rf"\bmod\s+({WORD})\s*;", text):
            for path in (folder / f"{child}.rs", folder / child / "mod.rs"):
                if path.is_file():
                    self.children[child] = Module(path, child, self, folder / child)

    def all(self):
        yield self
        for child in self.children.values():
            yield from child.all()

    def root(self):
        return self.parent.root() if self.parent else self

    def find(self, path, seen=()):
        """The module that defines what the path, as written in this one, names; None for other crates' things."""
        if (id(self), tuple(path)) in seen or not path:
            return self if not path else None
        seen = (*seen, (id(self), tuple(path)))
        head, rest = path[0], path[1:]
        if head in ("crate", "self", "super"):
            start = {"crate": self.root(), "self": self, "super": self.parent}[head]
            return start.find(rest, seen) if start else None
        if head in self.children:
            return self.children[head].find(rest, seen)
        # `use anyhow::anyhow` names another crate's.
        if head in self.uses and self.uses[head][0] != head:
            return self.find(self.uses[head] + rest, seen)
        if head in self.items:
            return self
        for glob in self.globs:
            base = self.find(glob, seen)
            if base and base is not self and (found := base.find(path, seen)):
                return found
        return None

    def imports(self):
        for path, shown in self.wanted:
            target = self.find(path)
            if target and target is not self and not (shown and self in target.line()):
                yield target, "::".join(path)

    def line(self):
        """Itself and the modules it is in, innermost first."""
        at = self
        while at:
            yield at
            at = at.parent

    def __str__(self):
        return str(self.file)


class PythonModule:
    """One file of a Python package; what is imported inside functions or for type checkers does not count."""

    def __init__(self, file, name, package):
        self.file, self.name, self.package = file, name, package
        self.wanted = []
        tree = ast.parse(file.read_text())
        self.bound = {n.id for s in tree.body for n in ast.walk(s) if isinstance(n, ast.Name)}
        self.bound |= {getattr(s, "name", "") for s in tree.body}
        self.bound |= {a.asname or a.name for s in tree.body if isinstance(s, ast.ImportFrom) for a in s.names}
        here = name if file.name == "__init__.py" else name.rpartition(".")[0]
        body = list(tree.body)
        while body:
            node = body.pop()
            if isinstance(node, ast.Import):
                self.wanted += [a.name for a in node.names]
            elif isinstance(node, ast.ImportFrom):
                up = here.split(".")[: len(here.split(".")) - node.level + 1] if node.level else []
                base = ".".join(up + ([node.module] if node.module else []))
                self.wanted += [f"{base}.{a.name}" for a in node.names] or [base]
            elif isinstance(node, (ast.Try, ast.If)) and "TYPE_CHECKING" not in ast.unparse(node)[:40]:
                body += node.body + node.orelse + [s for h in getattr(node, "handlers", []) for s in h.body]

    def imports(self):
        for name in self.wanted:
            base, _, last = name.rpartition(".")
            # `from . import x`, where x is no module here: the package's own, or a native one.
            here = self.package.get(base)
            target = self.package.get(name) or (here if here and last in here.bound else None)
            if target and target is not self:
                yield target, name

    def __str__(self):
        return str(self.file)


def circles(edges):
    """The strongly connected components of more than one node (Tarjan), each in order of names."""
    index, low, stack, found = {}, {}, [], []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in edges.get(node, ()):
            if other not in index:
                visit(other)
            if other in stack:
                low[node] = min(low[node], low[other])
        if low[node] == index[node]:
            part = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(part) > 1:
                found.append(sorted(part, key=str))

    for node in list(edges):
        if node not in index:
            visit(node)
    return found


def between(modules):
    """What each imports: module -> module -> the names by which it does."""
    edges = {}
    for module in modules:
        of = edges.setdefault(module, {})
        for target, name in module.imports():
            of.setdefault(target, set()).add(name)
    return edges


def within(part, edges):
    return [(a, b, edges[a][b]) for a in part for b in edges[a] if b in part]


def check_crate(file):
    root = Module(file, "crate", None, file.parent)
    edges = between(root.all())
    for part in circles(edges):
        yield part, within(part, edges)
    for folder in edges:
        beside, why = {child: set() for child in folder.children.values()}, {}
        for a, targets in edges.items():
            for b, names in targets.items():
                x = next((m for m in a.line() if m.parent is folder), None)
                y = next((m for m in b.line() if m.parent is folder), None)
                if x and y and x is not y:
                    beside[x].add(y)
                    why.setdefault((x, y), []).append((a, b, names))
        for part in circles(beside):
            if any(a not in part or b not in part for x in part for y in part for a, b, _ in why.get((x, y), ())):
                yield part, [p for x in part for y in part for p in why.get((x, y), ())]


def check_package(folder):
    package = {}
    for file in sorted(folder.rglob("*.py")):
        parts = [folder.name, *file.relative_to(folder).with_suffix("").parts]
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        package[name] = PythonModule(file, name, package)
    edges = between(package.values())
    for part in circles(edges):
        yield part, within(part, edges)


def main():
    here = pathlib.Path(__file__).resolve().parent.parent
    roots = [pathlib.Path(a) for a in sys.argv[1:]]
    if not roots:
        roots = sorted(f.parent for f in here.glob("**/Cargo.toml") if "target" not in f.parts)
        roots.append(here / "python" / "growthpath")
    found = 0
    for root in roots:
        files = [f for f in (root / "src" / "lib.rs", root / "src" / "main.rs") if f.is_file()]
        parts = [p for f in files for p in check_crate(f)] if files else list(check_package(root))
        for part, edges in parts:
            found += 1
            print("circle: " + " ".join(str(m) for m in part).replace(f"{here}/", ""))
            for a, b, names in sorted(edges, key=lambda e: (str(e[0]), str(e[1]))):
                print(f"    {a} -> {b}: {', '.join(sorted(names))}".replace(f"{here}/", ""))
    if found:
        sys.exit(f"circles: {found}")
    print(f"no import circle in {len(roots)} crates and packages")


if __name__ == "__main__":
    main()
