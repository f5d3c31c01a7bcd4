"""The text of one LLVM function under construction.

This module must not know the IR.
"""

from __future__ import annotations

from typing import Final

from tc.codegen.scopes import Lines, Scopes

LITERAL: Final = "literal"  # how the names of literals in memory begin


class Builder(Scopes):
    """Lines of LLVM text, in scopes; `entry` holds the allocas."""

    def __init__(self) -> None:
        super().__init__()
        self.entry: Lines = []
        self.declared: set[str] = set()
        self._literals: dict[tuple[str, str], int] = {}
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

    def literal(self, t: str, word: str) -> str:
        """A literal of type `t` that lies in memory, whole, loaded where it is used.

        LLVM spreads a literal vector from one lane where it is used, again and again. What it does
        not know to be a literal it keeps in a register, or makes an operand in memory of. Further
        out than the innermost loop it would take registers that the loops between need.
        """
        number = self._literals.setdefault((t, word), len(self._literals))
        scope, here = self.scopes[-1], self.out
        known = scope.fixed if here is scope.lines else {}
        found: str | None = known.get((t, word))
        if found is None:
            if here is scope.lines and scope.innermost and scope.header is not None:
                self.out = scope.header
            found = known[t, word] = f"%{self.name(LITERAL)}"
            place = f"ptr @tc.literal{number}, align 64, !invariant.load !{{}}"
            self.do(f"{found} = load {t}, {place}")
            self.out = here
        return found

    @property
    def literals(self) -> list[str]:
        """The definitions of the literals in memory."""
        return [
            f"@tc.literal{n} = private externally_initialized constant {t} {word}, align 64"
            for (t, word), n in self._literals.items()
        ]

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
