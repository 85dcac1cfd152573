"""Methods by the names people write on a command line."""

from __future__ import annotations

from collections.abc import Sequence

from model.bundle import Bundle, find_bundle, load_bundle
from model.errors import InputError
from model.methods.method import Method

NETWORK_ALONE = "network"
"""Suffix, after a colon, that leaves the refinement of a bundle out."""

METHODS = ("none", "rigid", "elastix")
"""Methods that need no training; every other name is that of a bundle."""


def choose_method(text: str, atlas: Bundle, device: str = "auto") -> Method:
    """Give the method of a name.

    Args:
        text: `none`, `rigid`, `elastix`, the name or path of a bundle, or that followed by `:network` for its network
            without the refinement.
        atlas: the bundle whose atlas the methods of `METHODS` use.
        device: where networks run.

    Raises:
        InputError: nothing of that name, or what follows the colon is not known.
        BundleError: the bundle cannot be used.
    """
    if text in METHODS:
        return _untrained(text, atlas)
    from model.methods.network import Network

    name, colon, part = text.partition(":")
    if colon and part != NETWORK_ALONE:
        raise InputError(
            "the method is not known", expected=f"BUNDLE or BUNDLE:{NETWORK_ALONE}", found=ascii(text[:80])
        )
    bundle = load_bundle(find_bundle(name))
    return Network(bundle, f"{bundle.name} {part}".strip(), refine=not part, device=device)


def choose_methods(texts: Sequence[str], atlas: Bundle, device: str = "auto") -> list[Method]:
    """Give several methods.

    Raises:
        InputError: one is not known, or two have one name.
    """
    methods = [choose_method(text, atlas, device) for text in texts]
    names = [method.name for method in methods]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not names:
        raise InputError("the methods cannot be compared", expected="at least one, each once", found=", ".join(twice))
    return methods


def _untrained(name: str, atlas: Bundle) -> Method:
    """Give a method of `METHODS`."""
    from model.methods.placed import Rigid, Unaligned
    from model.methods.registered import Elastix

    if name == "elastix":
        return Elastix(atlas)
    return Rigid(atlas) if name == "rigid" else Unaligned(atlas)
