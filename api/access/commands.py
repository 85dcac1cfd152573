"""The sub-commands `cochlear keys create | list | revoke`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from api.access.caller import Scope
from api.access.keys import KeyFile, new_key
from worker.commands import DataDir, load_settings

app = typer.Typer(no_args_is_help=True, help="Make, list and revoke the API keys of the service.")


@app.command("create")
def create(
    name: Annotated[str, typer.Option(help="What the key is for.", show_default=False)],
    scope: Annotated[list[Scope] | None, typer.Option(help="What it allows; give it once for each.")] = None,
    expires_days: Annotated[float | None, typer.Option(min=0, help="Days until it ends [default: never].")] = None,
    data_dir: DataDir = None,
) -> None:
    """Make a key and print it, once; without --scope it may submit and read."""
    ends = None if expires_days is None else datetime.now(UTC) + timedelta(days=expires_days)
    kept, text = new_key(name, scope or (Scope.SUBMIT, Scope.READ), ends)
    KeyFile(load_settings(data_dir).key_file).add(kept)
    typer.echo(text)
    typer.echo(f"key {kept.id} is made; its text is shown here once and kept nowhere", err=True)


@app.command("list")
def show(data_dir: DataDir = None) -> None:
    """List the keys, without their secrets."""
    now = datetime.now(UTC)
    for kept in KeyFile(load_settings(data_dir).key_file).read().values():
        scopes = ",".join(scope.value for scope in Scope if scope in kept.scopes)
        ends = "never ends" if kept.expires_at is None else f"{kept.expires_at:%Y-%m-%d %H:%M} UTC"
        state = "expired " if kept.expired(now) else ""
        typer.echo(f"{kept.id}  {scopes:<17}  made {kept.created_at:%Y-%m-%d}  {state}{ends}  {kept.name}")


@app.command("revoke")
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the key, as listed.", show_default=False)],
    data_dir: DataDir = None,
) -> None:
    """Revoke a key at once, without a restart; its jobs stay, for admin keys to see."""
    kept = KeyFile(load_settings(data_dir).key_file).remove(key_id)
    typer.echo(f"key {kept.id} ({kept.name}) is revoked")
