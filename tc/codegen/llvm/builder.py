"""The text of one LLVM function under construction.

This module must not know the IR.
"""

from __future__ import annotations

from tc.codegen.scopes import Lines, Scopes


class Builder(Scopes):
    """Lines of LLVM text, in scopes; `entry` holds the allocas."""

    def __init__(self) -> None:
        super().__init__()
        self.entry: Lines = []
        self.declared: set[str] = set()
        self._count = 0

    def name(self, prefix: str = "v") -> str:
        """A new name, without its sigil."""
        self._count += 1
        return f"{prefix}{self._count}"

    def ins(self, text: str) -> str:
        """Add an instruction that gives a value; the value's name."""
        self._count += 1
        name = f"%v{self._count}"
        self.out.append(f"  {name} = {text}")
        return name

    def do(self, text: str) -> None:
        """Add an instruction that gives none."""
        self.out.append(f"  {text}")

    def call(self, result: str, name: str, types: list[str], args: list[str]) -> str:
        """Call an intrinsic; it is declared at its first use."""
        self.declared.add(f"declare {result} @{name}({', '.join(types)})")
        typed = ", ".join([f"{t} {a}" for t, a in zip(types, args, strict=True)])
        if result == "void":
            self.do(f"call void @{name}({typed})")
            return ""
        return self.ins(f"call {result} @{name}({typed})")

    def label(self, name: str) -> None:
        """Begin a block."""
        self.out.append(f"{name}:")

    def text(self) -> str:
        """The body of the function."""
        parts: list[str] = ["entry:"]
        _flatten(self.entry, parts)
        _flatten(self.scopes[0].lines, parts)
        return "\n".join(parts)


def _flatten(lines: Lines, out: list[str]) -> None:
    for line in lines:
        if isinstance(line, str):
            out.append(line)
        else:
            _flatten(line, out)
