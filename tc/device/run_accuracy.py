"""What was measured of a model in shorter numbers against fp32, and its text.

Plain data: this module must not run or measure anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from statistics import median

from tc.frozen import frozen


@frozen
class LayerError:
    """What shorter numbers change in the output of one product, computed on the inputs of fp32.

    Attributes:
        name: of the parameter that is its weight.
        precision: what it is computed in: longer than asked for, if what was asked for is off by
            more than `bound`, or by so much that with the others the outputs would be off too far.
        tried: each shorter precision that was measured, the root mean square of its error as a
            share of the standard deviation of the output, and the bound of that.
    """

    name: str
    precision: str
    tried: tuple[tuple[str, float, float], ...]

    @property
    def error(self) -> float:
        """Of the precision that it is computed in."""
        return next((e for precision, e, _ in self.tried if precision == self.precision), 0.0)

    @property
    def kept(self) -> bool:
        """Whether it stays in a longer precision than was asked for."""
        return self.precision != self.tried[0][0]

    def __str__(self) -> str:
        why = ", ".join(f"{p} {e:.2%} of {most:.0%} allowed" for p, e, most in self.tried)
        _, error, most = self.tried[0]
        if self.kept and error <= most:
            why += ", too much with all others"
        return f"{self.name} in {self.precision} ({why})"


@frozen
class Accuracy:
    """The error of each output of floats, in the order of the outputs, and of each layer.

    Attributes:
        precision: of the model that was measured.
        errors: root mean square of the difference from fp32, as a share of the standard deviation
            of the fp32 output.
        layers: the products whose weights are parameters, in the order of the first call.
    """

    precision: str
    errors: tuple[float, ...]
    layers: tuple[LayerError, ...] = ()

    @property
    def worst(self) -> float:
        """The greatest error of an output; 0 where none is of floats."""
        return max(self.errors, default=0.0)

    @property
    def kept(self) -> tuple[LayerError, ...]:
        """The layers that stay in a longer precision, for their errors are out of bounds."""
        return tuple(layer for layer in self.layers if layer.kept)

    def as_dict(self) -> dict[str, object]:
        """The same as plain data."""
        return asdict(self)

    def __str__(self) -> str:
        shown = ", ".join(f"{e:.3%}" for e in self.errors) or "no output of floats"
        head = f"{self.precision}: rms error of the outputs {shown} of their standard deviation"
        return "\n".join((head, *self._of_layers()))

    def _of_layers(self) -> Iterator[str]:
        if not self.layers:
            return
        worst = max(self.layers, key=lambda layer: layer.error)
        middle = median(layer.error for layer in self.layers)
        yield (
            f"{len(self.layers)} layers: error of one alone {middle:.3%} at the median, "
            f"{worst.error:.3%} at most ({worst.name})"
        )
        for layer in self.kept:
            yield f"kept in a longer precision: {layer}"
