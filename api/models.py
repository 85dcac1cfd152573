"""Which model a job is computed with: a bundle by its name, by name and digest, or by an alias."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from model.bundle import Bundle, bundle_names, default_checkpoints, find_bundle, load_bundle
from model.bundle.schema import BUNDLE_NAME
from model.errors import OptionError, UnknownBundleError
from worker.aliases import DEFAULT_ALIAS, AliasStore
from worker.engine import check_digest
from worker.settings import Settings

_PINNED = re.compile(r"(?P<name>[^@]+)@(?P<digest>[0-9a-f]{64})")


@dataclass(frozen=True)
class ChosenModel:
    """A model that was asked for and is there.

    Attributes:
        bundle: the bundle, all of its files verified.
        alias: the alias it was asked for by, or None.
    """

    bundle: Bundle
    alias: str | None


class Models:
    """The models on offer.

    Args:
        settings: names the folder of bundles and the bundle that is the default until an alias says otherwise.
        aliases: the aliases.
    """

    def __init__(self, settings: Settings, aliases: AliasStore) -> None:
        """Keep the parts."""
        self._settings = settings
        self._aliases = aliases

    @property
    def folder(self) -> Path:
        """The folder of bundles."""
        return default_checkpoints() if self._settings.checkpoints is None else self._settings.checkpoints

    def choose(self, wanted: str | None) -> ChosenModel:
        """Give the model a job asks for.

        Args:
            wanted: `name`, `name@digest` or an alias; None for the alias `default`.

        Raises:
            BundleError: there is none, it is damaged, or its digest is not the one asked for or aliased.
        """
        text = DEFAULT_ALIAS if wanted is None else wanted
        pinned = _PINNED.fullmatch(text)
        if pinned is not None:
            bundle = self.named(pinned["name"])
            check_digest(bundle.digest, pinned["digest"])
            return ChosenModel(bundle, None)
        alias = None if text in bundle_names(self.folder) else self._aliases.get(text)
        if alias is not None:
            bundle = self.named(alias.bundle)
            check_digest(bundle.digest, alias.digest)
            return ChosenModel(bundle, text)
        if text == DEFAULT_ALIAS:
            return ChosenModel(self.named(self._settings.bundle), text)
        return ChosenModel(self.named(text), None)

    def named(self, name: str) -> Bundle:
        """Give a bundle by its name, all of its files verified.

        Raises:
            BundleError: when there is none of that name, or it is damaged.
        """
        # A path that comes over HTTP must never be looked up, nor a name that is a folder elsewhere.
        path = find_bundle(name, self.folder) if re.fullmatch(BUNDLE_NAME, name) else None
        if path is None or path.parent != self.folder:
            raise UnknownBundleError(
                "the model bundle is not known",
                expected="the name of a bundle or alias, as GET /v1/models lists them",
                found=ascii(name[:80]),
                field="bundle",
            )
        return load_bundle(path)

    def check_alias_name(self, name: str) -> None:
        """Refuse a name that no alias can have.

        Raises:
            OptionError: it is malformed, or the name of a bundle, which it would hide.
        """
        if re.fullmatch(BUNDLE_NAME, name) is None or name in bundle_names(self.folder):
            raise OptionError(
                "this cannot be the name of an alias",
                expected="letters, digits, dot, dash and underscore, and not the name of a bundle",
                found=ascii(name[:80]),
                field="alias",
            )
