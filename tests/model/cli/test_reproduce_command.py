"""`cochlear reproduce` from a shell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from cli_runs import Cochlear
from map_bundles import registration_map, write_registration_bundle, write_release_maps, write_segmentation_bundle
from threshold_maps import save_map


def test_both_kinds_of_network_from_the_published_folder(cochlear: Cochlear, tmp_path: Path) -> None:
    maps = write_release_maps(tmp_path / "activation_maps")
    for write, method in ((write_registration_bundle, "chamfer"), (write_segmentation_bundle, "segnet")):
        bundle = write(tmp_path, method)
        command = (
            "reproduce",
            "--activation-maps",
            maps,
            "--bundle",
            bundle,
            "--out",
            tmp_path / "out",
            "--device",
            "cpu",
        )
        ran = cochlear(*command)
        assert (ran.code, ran.err) == (0, "")
        assert ran.out.split()[-4:] == [method, "1", "0", "0"]
        assert cochlear(*command).out.split()[-4:] == [method, "0", "1", "0"]
        assert cochlear(*command, "--force").out.split()[-4:] == [method, "1", "0", "0"]
        for code in ("MD", "ST", "SV", "CC"):
            assert (tmp_path / "out" / "mask" / method / code / "case01.nii.gz").is_file()
            assert (tmp_path / "out" / "mesh" / method / code / "case01.mesh").is_file()


def test_what_cannot_be_used_is_said_in_one_line(cochlear: Cochlear, tmp_path: Path) -> None:
    bundle, maps = write_registration_bundle(tmp_path, "tiny"), write_release_maps(tmp_path / "maps")
    (tmp_path / "empty").mkdir()

    def refuses(folder: Path, name: str | Path, *more: str, code: int = 2) -> str:
        command = ("reproduce", "--activation-maps", folder, "--bundle", name, "--out", tmp_path / "out", *more)
        return cochlear.refuses(*command, code=code)

    assert "import-release" in refuses(maps, "cochlea-ct-v2")
    assert "no-such-model" in refuses(maps, "no-such-model")
    assert "missing" in refuses(tmp_path / "nowhere", bundle)
    assert "an empty folder" in refuses(tmp_path / "empty", bundle)
    assert "another method" in refuses(maps / "segnet", bundle)
    assert "device" in refuses(maps, bundle, "--device", "abacus")
    save_map(tmp_path / "bad", "wide", np.ones((5, 28, 32, 36), np.float32))
    assert "1 of 1 cases" in refuses(tmp_path / "bad", bundle)
    assert not list((tmp_path / "out").rglob("*.*"))


def test_cases_that_fail_are_named_after_the_others(cochlear: Cochlear, tmp_path: Path) -> None:
    bundle, maps = write_registration_bundle(tmp_path, "tiny"), tmp_path / "maps"
    content = save_map(maps, "good", registration_map()).read_bytes()
    for number in range(5):
        (maps / f"bad{number}.nii.gz").write_bytes(content[: 1000 * number])
    command = ("reproduce", "--activation-maps", maps, "--bundle", bundle, "--out", tmp_path / "out", "--device", "cpu")
    ran = cochlear(*command)
    assert ran.code == 1
    assert "chamfer 1 0 5" in " ".join(ran.out.split())
    assert all(f"bad{number}: " in ran.out for number in range(5))
    line = cochlear.refuses(*command, code=1)
    assert "5 of 6 cases" in line
    assert "bad0 (" in line
    assert "and 2 more" in line
    assert (tmp_path / "out/mesh/chamfer/CC/good.mesh").is_file()
