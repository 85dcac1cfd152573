"""The methods of the release whose networks can be imported."""

from __future__ import annotations

from model.errors import OptionError
from model.release.segnet import SEGNET_METHOD

REGISTRATION_METHODS = ("chamfer", "p2p", "dice")
"""Registration networks by the loss they were trained with, as the release names them in files and folders."""

METHODS = (*REGISTRATION_METHODS, SEGNET_METHOD)
"""All methods that can be imported."""


def check_method(method: str) -> str:
    """Give a method back when it can be imported.

    Raises:
        OptionError: there is no such method.
    """
    if method not in METHODS:
        raise OptionError("the method is not known", expected=" or ".join(METHODS), found=ascii(method[:40]))
    return method
