"""Keys: the file, the ring that follows it, and the commands."""

from __future__ import annotations

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cli_runs import Cochlear

from api.access.caller import Scope
from api.access.keys import KeyFile, KeyFileError, KeyRing, UnknownKeyError, new_key


@pytest.fixture
def file(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "keys.json")


@pytest.fixture
def cochlear(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cochlear:
    monkeypatch.setenv("COCHLEAR_DATA_DIR", str(tmp_path))
    return Cochlear(monkeypatch, capsys)


def test_a_key_is_found_by_its_text_alone(file: KeyFile) -> None:
    kept, text = new_key("a", [Scope.READ])
    other, _ = new_key("b", [Scope.READ])
    file.add(kept)
    file.add(other)
    ring = KeyRing(file)
    assert ring.find(text) == kept
    secret = text.rpartition("_")[2]
    wrong = secret[:-1] + ("0" if secret[-1] != "0" else "1")
    bad = [f"cochlear_{kept.id}_{wrong}", f"cochlear_{other.id}_{secret}", f"cochlear_{'0' * 12}_{secret}"]
    bad += ["", kept.id, secret, text.upper(), text + "\n", f"cochlear_{kept.id}_{kept.sha256}", text[:-1]]
    assert [ring.find(candidate) for candidate in bad] == [None] * len(bad)


def test_the_file_holds_no_secret_and_is_its_owners(file: KeyFile, tmp_path: Path) -> None:
    kept, text = new_key("a", [Scope.SUBMIT])
    file.add(kept)
    path = tmp_path / "keys.json"
    assert text.rpartition("_")[2] not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(item.name for item in tmp_path.iterdir()) == ["keys.json", "keys.json.lock"]


def test_a_key_ends_at_its_time(file: KeyFile) -> None:
    now = datetime.now(UTC)
    (past, past_text), (future, future_text) = (
        new_key("x", [Scope.READ], now + timedelta(seconds=seconds)) for seconds in (-1, 60)
    )
    file.add(past)
    file.add(future)
    ring = KeyRing(file)
    assert ring.find(past_text) is None
    assert ring.find(future_text) == future


def test_the_ring_follows_the_file(file: KeyFile, tmp_path: Path) -> None:
    ring = KeyRing(file)
    assert ring.empty
    kept, text = new_key("a", [Scope.READ])
    file.add(kept)
    assert ring.find(text) == kept
    file.remove(kept.id)
    assert ring.find(text) is None
    file.add(kept)
    assert ring.find(text) == kept
    (tmp_path / "keys.json").unlink()
    assert ring.find(text) is None


def test_the_ring_follows_a_mounted_secret_that_is_turned(tmp_path: Path) -> None:
    texts = []
    for name in ("old", "new"):
        kept, text = new_key(name, [Scope.READ])
        KeyFile(tmp_path / name / "keys.json").add(kept)
        texts.append(text)
    link = tmp_path / "keys.json"
    link.symlink_to(tmp_path / "old" / "keys.json")
    ring = KeyRing(KeyFile(link))
    assert [ring.find(text) is not None for text in texts] == [True, False]
    (tmp_path / "turned").symlink_to(tmp_path / "new" / "keys.json")
    (tmp_path / "turned").replace(link)
    assert [ring.find(text) is not None for text in texts] == [False, True]


def test_editors_at_once_lose_nothing(file: KeyFile) -> None:
    made = [new_key(str(number), [Scope.READ])[0] for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(file.add, made))
    assert set(file.read()) == {kept.id for kept in made}


@pytest.mark.parametrize("text", ["", "{", '{"keys": [{}]}', '{"key": []}', "[]"])
def test_a_damaged_file_lets_nobody_in(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keys.json"
    kept, key = new_key("a", [Scope.READ])
    KeyFile(path).add(kept)
    ring = KeyRing(KeyFile(path))
    assert ring.find(key) is not None
    path.write_text(text)
    for _ in range(2):
        with pytest.raises(KeyFileError):
            ring.find(key)
    with pytest.raises(KeyFileError):
        KeyFile(path).add(kept)
    assert path.read_text() == text, "a file that is not understood is not overwritten"


def test_a_file_that_others_may_change_is_refused(file: KeyFile, tmp_path: Path) -> None:
    file.add(new_key("a", [Scope.READ])[0])
    (tmp_path / "keys.json").chmod(0o622)
    with pytest.raises(KeyFileError, match="0622"):
        file.read()


def test_the_commands(cochlear: Cochlear, tmp_path: Path) -> None:
    made = cochlear("keys", "create", "--name", "ward 3", "--scope", "submit", "--scope", "read")
    text = made.out.strip()
    ended = cochlear("keys", "create", "--name", "guest", "--scope", "read", "--expires-days", "0").out.strip()
    ring = KeyRing(KeyFile(tmp_path / "keys.json"))
    kept = ring.find(text)
    assert kept is not None
    assert (kept.name, kept.scopes) == ("ward 3", frozenset({Scope.SUBMIT, Scope.READ}))
    assert ring.find(ended) is None
    listed = cochlear("keys", "list").out
    assert [line.split()[:2] for line in listed.splitlines()] == [
        [kept.id, "submit,read"],
        [ended.split("_")[1], "read"],
    ]
    assert "ward 3" in listed
    assert "expired" in listed.splitlines()[1]
    assert text.rpartition("_")[2] not in listed
    assert kept.sha256 not in listed
    assert cochlear("keys", "revoke", kept.id).code == 0
    assert ring.find(text) is None
    assert "no key has this id" in cochlear.refuses("keys", "revoke", kept.id)
    assert len(json.loads((tmp_path / "keys.json").read_text())["keys"]) == 1


def test_an_unknown_id_cannot_be_removed(file: KeyFile) -> None:
    with pytest.raises(UnknownKeyError):
        file.remove("x")
