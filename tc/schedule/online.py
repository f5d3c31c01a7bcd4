"""Online softmax in blocks: the weights of a block once, shared by all that they weigh."""

from __future__ import annotations

from collections.abc import Callable

from tc.errors import ScheduleError
from tc.ir.arith import unary
from tc.ir.expr import Const, Expr, Fma, Load, Var, maximum, minimum
from tc.ir.loop import Alloc, Buffer, For, Func, LoopKind, Scope, Seq, Stmt, Store, Update, seq
from tc.ir.monoid import Monoid, max_of, softmax_base, softmax_weight, sum_of
from tc.ir.simplify import simplify
from tc.ir.visit import loads_of, map_stmt, substitute, uses
from tc.schedule.dependence import require_independent
from tc.schedule.rewrite import (
    find_loops,
    fresh_names,
    header,
    primitive,
    refuse,
    rewrite_loops,
    size_bound,
)


@primitive
def online(func: Func, loop: str, row: str, column: str, block: int = 0, fused: int = 0) -> Func:
    """Fold the online softmax of `loop` in blocks, the weights of a `row` once for all columns.

    rewrite: for i in range(R):
                 for e in range(E):
                     with m, l, o = alloc(f32[]):
                         m[] = -inf; l[] = 0; o[] = 0
                         for j in range(n): m[], l[], o[] <online_softmax>= x(i, j), y(j), z(j, e)
                         out[i, e] = f(m[], l[], o[])
    into:    with m, l, o = alloc(f32[R]), alloc(f32[R]), alloc(f32[R, E]):
                 for i_m: m[i_m] = -inf; l[i_m] = 0
                 for i_o: for e_o: o[i_o, e_o] = 0
                 for j0 in range(ceil(n / block)):           # j = j0 * block + j_t, and so on
                     with top, scale, w = alloc(f32[R]), alloc(f32[R]), alloc(f32[R, block]):
                         for i_t: top[i_t] = max(m[i_t], max of x(i_t, j) over j_t)
                         for i_s: scale[i_s] = exp(m[i_s] - top[i_s]); m[i_s] = top[i_s]
                                  top[i_s] = top[i_s], or 0 where it is -inf
                         for i_w: for j_w: w[i_w, j_w] = exp(x(i_w, j) - top[i_w])
                         for i_l: l[i_l] = l[i_l] * scale[i_l] + sum of w[i_l, j_l] * y over j_l
                         for i_v: for e_v: o = o * scale[i_v] + sum of w[i_v, j_v] * z over j_v
                 for i: for e: out[i, e] = f(m[i], l[i], o[i, e])

    The states of a row are folded once, not for each column (Dao, "FlashAttention-2", arXiv
    2307.08691, section 3.1). With block=0 all of `loop` is one block, and `out` is written by the
    last nest. With fused=1 weights are summed as they are made, in the nest of i_w, and there is
    none of i_l. Sums are rounded in another order, as by `rfactor`.
    Raises ScheduleError: no such loops, not nested like that, a fold with another monoid, scores
    that vary with the column, rows that depend on each other, or fused with one block of all.
    """
    if block < 0:
        raise ScheduleError(f"online: block is {block}, must be at least 0; 0 is one block of all")
    if fused and not block:
        raise ScheduleError("online: fused with one block of all; give the length of a block")
    for name in (loop, column):
        find_loops(func, "online", name)
    names = [f"{row}_{s}" for s in ("m", "o", "t", "s", "w", "l", "v")]
    names += [f"{column}_{s}" for s in ("o", "v")] + [f"{loop}_{s}" for s in ("t", "w", "l", "v")]
    fresh_names(func, "online", (*names, loop + "0"))
    return rewrite_loops(
        func, "online", row, lambda x: _Blocks(_Nest(x, loop, column), block, fused > 0).stmt()
    )


class _Nest:
    """The parts of a nest that folds an online softmax, checked."""

    def __init__(self, x: For, loop: str, column: str) -> None:
        self.row, self.where = x, header(x)
        if not isinstance(x.body, For) or x.body.var.name != column:
            raise self._refusal(f"its body is not just the loop {column!r}")
        self.column = x.body
        inner = x.body.body
        states: list[Buffer] = []
        while isinstance(inner, Alloc):
            states.append(inner.buffer)
            inner = inner.body
        parts = inner.body if isinstance(inner, Seq) else (inner,)
        at = [n for n, p in enumerate(parts) if isinstance(p, For) and p.var.name == loop]
        if len(at) != 1 or not isinstance(fold := parts[at[0]], For):
            raise self._refusal(f"the loop {loop!r} is not one of the statements inside it")
        if not isinstance(fold.body, Update) or fold.body.monoid.name != "online_softmax":
            raise self._refusal(f"{header(fold)} does not fold an online softmax, and nothing else")
        self.loop, self.update, self.states = fold, fold.body, tuple(states)
        self._check_around(parts[: at[0]], parts[at[0] + 1 :])
        self._check_values()

    def _refusal(self, why: str) -> ScheduleError:
        return refuse(
            "online", self.where, why,
            "apply online to the loops as they were lowered, those outside of the row aside",
        )  # fmt: skip

    def _check_around(self, before: tuple[Stmt, ...], after: tuple[Stmt, ...]) -> None:
        monoid = self.update.monoid
        if self.update.buffers != self.states or self.update.indices:
            raise self._refusal("its states are not those that are allocated inside it")
        starts = zip(self.states, monoid.identity, strict=True)
        if before != tuple(Store(b, (), i) for b, i in starts):
            raise self._refusal("its states do not begin as the identity")
        if len(after) != 1 or not isinstance(after[0], Store) or after[0].mask is not None:
            raise self._refusal("one store does not follow the fold")
        self.store = after[0]

    def _check_values(self) -> None:
        row, column = self.row.var, self.column.var
        if any(uses(x, column) for x in self.update.values[:2]):
            raise self._refusal(f"the scores vary with {column.name!r}")
        if any(uses(self.loop.extent, v) for v in (row, column)) or uses(self.column.extent, row):
            raise self._refusal(f"the length of an inner loop varies with {row.name!r}")
        names = {b.name for b in self.states}
        if any(n.buffer.name in names for n in loads_of(self.loop)):
            raise self._refusal("its values depend on what is folded so far")
        require_independent("online", self.row)
        require_independent("online", self.column)


class _Blocks:
    """The loops that a nest becomes; `block` is None for one block of all."""

    def __init__(self, nest: _Nest, block: int, fused: bool) -> None:
        self.nest, self.block, self.fused = nest, block, fused
        self.outer = Var(nest.loop.var.name + "0")
        n = nest.loop.extent
        self.length = simplify(minimum(block, n - self.outer * block)) if block else n
        self.rows = size_bound(nest.row.extent)
        self.top, self.total, self.value = (b.name for b in nest.states)
        self.dtype = nest.states[0].dtype

    def stmt(self) -> Stmt:
        m, total = self.buffer(self.top, self.rows), self.buffer(self.total, self.rows)
        w = self.buffer(f"{self.top}_w", self.rows, size_bound(self.length))
        if not self.block:
            inner = seq(self.weigh(m, w), self.sums(w, total, None), self.last(w, m, total))
            return Alloc(m, Alloc(total, Alloc(w, seq(self.highest(m, None), inner))))
        o = self.buffer(self.value, self.rows, size_bound(self.nest.column.extent))
        top = self.buffer(f"{self.top}_top", self.rows)
        scale = self.buffer(f"{self.top}_scale", self.rows)
        if self.fused:
            weighed = self.weigh(top, w, (total, scale))
        else:
            weighed = seq(self.weigh(top, w), self.sums(w, total, scale))
        inner = seq(
            self.highest(top, m), self.rescale(m, top, scale), weighed, self.values(w, o, scale)
        )
        n = self.nest.loop.extent
        count = simplify((n + (self.block - 1)) // self.block)
        body = Alloc(top, Alloc(scale, Alloc(w, inner)))
        fold = For(self.outer, count, LoopKind.SERIAL, body)
        out = self.store(m, total, lambda i, e: Load(o, (i, e)))
        return Alloc(m, Alloc(total, Alloc(o, seq(self.start(m, total, o), fold, out))))

    # --- the statements, in order

    def start(self, m: Buffer, total: Buffer, o: Buffer) -> Stmt:
        low, none, zero = self.nest.update.monoid.identity
        i, at, e = self.row("m"), self.row("o"), self.column("o")
        clear = self.over(at, self.across(e, Store(o, (at, e), zero)))
        return seq(self.over(i, seq(Store(m, (i,), low), Store(total, (i,), none))), clear)

    def highest(self, top: Buffer, before: Buffer | None) -> Stmt:
        i, j = self.row("t"), self.key("t")
        score = self.moved(self.nest.update.values[0], i, j)

        def done(found: Expr) -> Stmt:
            return Store(top, (i,), maximum(Load(before, (i,)), found) if before else found)

        return self.over(i, self.folded(max_of(self.dtype), f"{self.top}_t", j, score, done))

    def rescale(self, m: Buffer, top: Buffer, scale: Buffer) -> Stmt:
        i = self.row("s")
        found = Load(top, (i,))
        weight = softmax_weight(Load(m, (i,)), found)
        later = Store(m, (i,), found), Store(top, (i,), softmax_base(found))
        return self.over(i, seq(Store(scale, (i,), weight), *later))

    def weigh(self, top: Buffer, w: Buffer, sums: tuple[Buffer, Buffer] | None = None) -> Stmt:
        """The weights; with `sums`, totals and what scales them, these too."""
        i, j = self.row("w"), self.key("w")
        score = self.moved(self.nest.update.values[0], i, j)
        # Of several blocks, `top` holds the base by now.
        weight = softmax_weight(score, Load(top, (i,)))
        if self.block:
            weight = unary("exp_nonpos", score - Load(top, (i,)))
        store = Store(w, (i, j), weight)
        if sums is None:
            return self.over(i, For(j, self.length, LoopKind.SERIAL, store))
        return self.over(i, self.summed(w, i, j, *sums, store))

    def sums(self, w: Buffer, total: Buffer, scale: Buffer | None) -> Stmt:
        i, j = self.row("l"), self.key("l")
        return self.over(i, self.summed(w, i, j, total, scale))

    def summed(
        self, w: Buffer, i: Var, j: Var, total: Buffer, scale: Buffer | None, *before: Stmt
    ) -> Stmt:
        """Add the weights of a row to its total; each after the statements `before`."""
        count = self.moved(self.nest.update.values[1], i, j)
        weight = Load(w, (i, j))
        summand = weight if count == Const(1, self.dtype) else weight * count

        def done(found: Expr) -> Stmt:
            return Store(total, (i,), _scaled(Load(total, (i,)), scale, i, found))

        return self.folded(sum_of(self.dtype), f"{self.total}_l", j, summand, done, *before)

    def values(self, w: Buffer, o: Buffer, scale: Buffer) -> Stmt:
        i, e, j = self.row("v"), self.column("v"), self.key("v")
        summand = Load(w, (i, j)) * self.moved(self.nest.update.values[2], i, j, e)

        def done(found: Expr) -> Stmt:
            return Store(o, (i, e), _scaled(Load(o, (i, e)), scale, i, found))

        fold = self.folded(sum_of(self.dtype), f"{self.value}_v", j, summand, done)
        return self.over(i, self.across(e, fold))

    def last(self, w: Buffer, m: Buffer, total: Buffer) -> Stmt:
        """The values of the only block, and the result at once."""
        i, e, j = self.nest.row.var, self.nest.column.var, self.key("v")
        summand = Load(w, (i, j)) * self.moved(self.nest.update.values[2], i, j, e)

        def done(found: Expr) -> Stmt:
            return self.result(m, total, found)

        fold = self.folded(sum_of(self.dtype), f"{self.value}_v", j, summand, done)
        return self.over(i, self.across(e, fold))

    def store(self, m: Buffer, total: Buffer, value: Callable[[Expr, Expr], Expr]) -> Stmt:
        i, e = self.nest.row.var, self.nest.column.var
        return self.over(i, self.across(e, self.result(m, total, value(i, e))))

    # --- what they are made of

    def buffer(self, name: str, *shape: Expr) -> Buffer:
        return Buffer(name, shape, self.dtype, Scope.SCRATCH)

    def row(self, name: str) -> Var:
        return Var(f"{self.nest.row.var.name}_{name}")

    def column(self, name: str) -> Var:
        return Var(f"{self.nest.column.var.name}_{name}")

    def key(self, name: str) -> Var:
        return Var(f"{self.nest.loop.var.name}_{name}")

    def over(self, i: Var, body: Stmt) -> Stmt:
        return For(i, self.nest.row.extent, self.nest.row.kind, body)

    def across(self, e: Var, body: Stmt) -> Stmt:
        return For(e, self.nest.column.extent, self.nest.column.kind, body)

    def moved(self, x: Expr, i: Var, j: Var, e: Var | None = None) -> Expr:
        """A value at another row, key of the block and column."""
        key = self.outer * self.block + j if self.block else j
        nest = self.nest
        env: dict[Var, Expr] = {nest.row.var: i, nest.loop.var: key}
        if e is not None:
            env[nest.column.var] = e
        return substitute(x, env)

    def folded(
        self,
        monoid: Monoid,
        name: str,
        j: Var,
        value: Expr,
        done: Callable[[Expr], Stmt],
        *before: Stmt,
    ) -> Stmt:
        """`value` folded over `j`, each after `before`, and what is `done` with the result."""
        acc = Buffer(name, (), self.dtype, Scope.REGISTER)
        update = Update(monoid, (acc,), (), (value,))
        fold = For(j, self.length, LoopKind.SERIAL, seq(*before, update))
        return Alloc(acc, seq(Store(acc, (), monoid.identity[0]), fold, done(Load(acc, ()))))

    def result(self, m: Buffer, total: Buffer, value: Expr) -> Stmt:
        """The store of the nest with its states replaced."""
        i = self.nest.row.var
        env = {self.top: Load(m, (i,)), self.total: Load(total, (i,)), self.value: value}

        def state(x: Expr) -> Expr | None:
            return env.get(x.buffer.name) if isinstance(x, Load) else None

        return map_stmt(self.nest.store, state)


def _scaled(old: Expr, scale: Buffer | None, i: Var, new: Expr) -> Expr:
    return new if scale is None else Fma(old, Load(scale, (i,)), new)
