"""Routes of models and of the aliases by which jobs may name them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response

from api.access.caller import Admin, Reader
from api.context import Context, ContextOf
from api.model_schemas import AliasHistory, AliasList, AliasState, AliasTarget, Model, ModelCard, ModelList
from api.problems import ServiceError
from api.schemas import problem_responses
from model.bundle import bundle_digest, check_takes_images, list_bundles
from worker.aliases import DEFAULT_ALIAS
from worker.engine import check_digest

router = APIRouter(prefix="/v1", tags=["models"])

AliasName = Annotated[str, Path(description="Name of the alias.", max_length=64, examples=["default"])]


@router.get("/models", responses=problem_responses(503), summary="List models")
def models(context: ContextOf, _: Reader) -> ModelList:
    """Give the model bundles that a job may name."""
    pointing = _aliases(context)
    folder = context.models.folder
    found = []
    for manifest in list_bundles(folder):
        names = pointing.get(manifest.name, [])
        digest = bundle_digest(folder / manifest.name)
        found.append(Model.of(manifest, digest, names, default=DEFAULT_ALIAS in names))
    return ModelList(models=found)


@router.get("/models/{name}", responses=problem_responses(409, 422, 503), summary="The card of a model")
def card(context: ContextOf, _: Reader, name: Annotated[str, Path(max_length=64)]) -> ModelCard:
    """Give what is known about a model; all its files are verified first."""
    bundle = context.models.named(name)
    names = _aliases(context).get(name, [])
    return ModelCard.of_bundle(bundle, names, default=DEFAULT_ALIAS in names)


@router.get("/aliases", responses=problem_responses(503), summary="List aliases")
def aliases(context: ContextOf, _: Reader) -> AliasList:
    """Give the aliases that were set; `default` is among them once it was pointed anywhere."""
    return AliasList(aliases=[AliasState.of(alias) for alias in context.aliases.all()])


@router.get("/aliases/{alias}", responses=problem_responses(404, 503), summary="Look at an alias")
def alias_history(context: ContextOf, _: Reader, alias: AliasName) -> AliasHistory:
    """Give where an alias points and has pointed."""
    found = context.aliases.get(alias)
    if found is None:
        raise _no_such_alias()
    history = [AliasState.of(old) for old in context.aliases.history(alias)]
    return AliasHistory(**AliasState.of(found).model_dump(), history=history)


@router.put("/aliases/{alias}", responses=problem_responses(409, 422, 503), summary="Point an alias to a model")
def point(context: ContextOf, caller: Admin, alias: AliasName, target: AliasTarget) -> AliasState:
    """Point an alias to a bundle, whose files are verified; the next job that names the alias is computed with it.

    Jobs that were accepted before keep the bundle they were accepted with. Pointing `default` back is the roll-back.
    """
    context.models.check_alias_name(alias)
    bundle = context.models.named(target.bundle)
    check_takes_images(bundle.manifest)
    check_digest(bundle.digest, target.digest)
    return AliasState.of(context.aliases.point(alias, bundle.name, bundle.digest, caller.key_id))


@router.delete(
    "/aliases/{alias}",
    status_code=204,
    response_class=Response,
    responses=problem_responses(404, 503),
    summary="Take an alias away",
)
def drop(context: ContextOf, _: Admin, alias: AliasName) -> Response:
    """Take an alias away; without the alias `default`, the bundle of the service's settings is the default again."""
    if not context.aliases.drop(alias):
        raise _no_such_alias()
    return Response(status_code=204)


def _aliases(context: Context) -> dict[str, list[str]]:
    """Give the aliases by the name of the bundle they point to."""
    found: dict[str, list[str]] = {}
    for alias in context.aliases.all():
        found.setdefault(alias.bundle, []).append(alias.name)
    if not any(DEFAULT_ALIAS in names for names in found.values()):
        found.setdefault(context.settings.bundle, []).append(DEFAULT_ALIAS)
    return found


def _no_such_alias() -> ServiceError:
    """Give the error for an alias that is not set."""
    return ServiceError("no-such-alias", "There is no such alias", "the alias is not set", hint="see GET /v1/aliases")
