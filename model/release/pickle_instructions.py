"""Reading a pickle as a list of instructions, without following any."""

from __future__ import annotations

import pickle  # for its error only
import pickletools

ARRAY_INSTRUCTIONS = frozenset(
    {
        *("PROTO", "FRAME", "STOP", "MARK", "GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD"),
        *("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "NONE", "NEWTRUE", "NEWFALSE"),
        *("INT", "LONG", "LONG1", "BININT", "BININT1", "BININT2", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BYTEARRAY8"),
        *("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "GET", "BINGET", "LONG_BINGET"),
    }
)
"""Instructions in the pickles of numeric arrays, all protocols. Without dictionaries nothing is hashed and no attribute
set; without OBJ, INST and NEWOBJ nothing is made but by the functions that are named."""

PLAIN_INSTRUCTIONS = ARRAY_INSTRUCTIONS | {
    *("EMPTY_LIST", "LIST", "APPEND", "APPENDS", "EMPTY_DICT", "DICT", "SETITEM", "SETITEMS"),
    *("EMPTY_SET", "ADDITEMS", "FROZENSET", "FLOAT", "BINFLOAT", "LONG4", "BINUNICODE8", "POP", "POP_MARK", "DUP"),
}
"""Instructions in the pickles of plain values and containers of them."""


def check_instructions(content: bytes, known: frozenset[str]) -> None:
    """Refuse a pickle with unknown instructions, or one that asks for more room than it fills.

    Args:
        content: the pickle.
        known: names of instructions, as `pickletools` has them.

    Raises:
        UnpicklingError: an instruction is not known, or an index is larger than the pickle is long.
        ValueError: it is no pickle, or cut short.
    """
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name not in known:
            raise pickle.UnpicklingError(f"the instruction {opcode.name}")
        # The memo is a table up to its largest index, and to fill one index takes an instruction.
        if opcode.name in ("PUT", "LONG_BINPUT") and isinstance(argument, int) and argument > len(content):
            raise pickle.UnpicklingError("an index that its length does not call for")
