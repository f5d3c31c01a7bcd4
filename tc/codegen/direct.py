"""What a direct call reads and writes: the words of its state, its templates and its counters.

See `tc.codegen.llvm.direct`. This module must not import a code generator.
"""

from __future__ import annotations

from enum import IntEnum, auto

from tc.frozen import frozen


class State(IntEnum):
    """The words of a callable's state, each an i64; templates' addresses follow from `FIRST`."""

    COUNT = 0  # of templates
    FALLBACK = 1  # object: called as the callable was, where no template fits
    TRUE = 2  # object
    TENSOR = 3  # object: the class of the arguments
    INFERENCE = 4  # address of a function: its lowest bit tells the mode that tensors are made in
    AUTOCAST = 5  # address of a function of a device, an i8: its lowest bit tells whether it is on
    FIRST = 6


class Word(IntEnum):
    """The words of a template, each an i64: a number, an address, or a Python object."""

    OWNER = 0  # object that keeps everything below alive, but for the weights
    POSITIONAL = auto()  # how many arguments have no name
    NAMED = auto()  # how many have
    NAMES = auto()  # address of so many str objects, compared by identity
    LIKE = auto()  # address of a row for each argument: a count, triples (offset, mask, word there)
    INFERENCE = auto()  # what the function of `State` told
    ACCEPTS = auto()  # object: called with all arguments, gives True where they are alike
    PAIRS = auto()  # address of pairs (address, what its eight bytes have to hold)
    PAIR_COUNT = auto()
    POOL = auto()  # list: the call takes its last item, and puts it back
    ARENA = auto()  # object: what that item has to be
    WEIGHTS = auto()  # object: alive while the pairs hold, and kept during a call
    INSIDE = auto()  # address of the number of calls in progress
    GATE = auto()  # address of a word that is 0 while nobody waits for them to end
    NOTIFY = auto()  # object: called after a call if somebody does
    COUNTERS = auto()  # address of the words of `Counter`
    LAST = auto()  # address of a word
    NUMBER = auto()  # what is written there
    TABLE = auto()  # address of the argument table
    FUNCTION = auto()  # address of what is called with it
    ERROR = auto()  # address of an i32 that is not 0 after a failure; the fallback then reports it
    HINTS = auto()  # address of what `abi.Slot.HINTS` gets during a call
    INPUTS = auto()  # address of triples (slot's address, argument's number, bytes of an element)
    INPUT_COUNT = auto()
    OUTPUTS = auto()  # address of triples (object to call, tuple of its arguments, name)
    OUTPUT_COUNT = auto()
    SLOTS = auto()  # address of pairs (slot's address, output's number)
    SLOT_COUNT = auto()
    FINISH = auto()  # object: called with the outputs and gives the result; 0: see MAKE
    MAKE = auto()  # object: called with CLASS, gives an empty mapping; 0: output 0 is the result
    CLASS = auto()
    ATTRIBUTES = auto()  # dict: the mapping's attributes but for the outputs
    SPARES = auto()  # address of results: object, address and number of pairs, objects of outputs
    SPARE_COUNT = auto()
    COUNT = auto()  # how many words there are


class Counter(IntEnum):
    """The words of a counter of calls, each an i64."""

    CALLS = 0
    STARTED = 1  # when the last one began, in nanoseconds of CLOCK_MONOTONIC
    NANOSECONDS = 2  # how long it took


MOST_OBJECTS = 64  # arguments of a call, and results


@frozen
class Offsets:
    """Byte offsets: what the C API does not tell.

    Attributes:
        buffer: in a ctypes array, of the address of its memory.
        handle: in a tensor object, of the address of its implementation.
        storage, offset, data: see `tensor_layout.Layout`.
    """

    buffer: int
    handle: int
    storage: int
    offset: int
    data: int
