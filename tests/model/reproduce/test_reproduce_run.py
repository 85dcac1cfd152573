"""Many maps: what is there is kept, what fails is named, nothing is ever half there."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel
import numpy as np
import pytest
from threshold_maps import GRID, ThresholdMaps, blocks, save_cases, save_map

from model.errors import OptionError, ReleaseError
from model.meshes.formats import read_mesh
from model.reproduce.files import ResultFiles
from model.reproduce.run import reproduce

CODES = ("MD", "CC")


def result_files(out: Path) -> dict[str, bytes]:
    """Give all files by path."""
    return {str(file.relative_to(out)): file.read_bytes() for file in sorted(out.rglob("*")) if file.is_file()}


def names(case: str) -> set[str]:
    """Give the files that a case must have."""
    masks = {f"mask/threshold/{code}/{case}.nii.gz" for code in CODES}
    return masks | {f"mesh/threshold/{code}/{case}.mesh" for code in CODES}


def test_files_lie_as_published(tmp_path: Path) -> None:
    maps = save_cases(tmp_path / "maps" / "threshold", 2)
    seen: list[tuple[str, float]] = []
    result = reproduce(maps.parent, ThresholdMaps(), tmp_path / "out", progress=lambda *args: seen.append(args))
    assert (result.done, result.skipped, result.failed) == (["case0", "case1"], [], {})
    assert result_files(tmp_path / "out").keys() == names("case0") | names("case1")
    assert ("case1", 0.5) in seen
    assert seen[-1][1] == 1.0
    mask = nibabel.Nifti1Image.from_filename(tmp_path / "out/mask/threshold/MD/case1.nii.gz")
    np.testing.assert_array_equal(np.asarray(mask.dataobj), blocks(1)[0])
    np.testing.assert_allclose(mask.affine, np.diag([-0.2, -0.2, 0.2, 1]), atol=1e-7)
    surface = read_mesh(tmp_path / "out/mesh/threshold/CC/case1.mesh")
    np.testing.assert_allclose(surface.vertices.min(axis=0), [0.5, 1.5, 1.5])
    np.testing.assert_allclose(surface.vertices.max(axis=0), [5.5, 7.5, 9.5])
    assert surface.signed_volume > 0


def test_affine_that_a_map_kept_of_its_crop_is_that_of_the_masks(tmp_path: Path) -> None:
    affine = np.array([[0, -0.2, 0, 5], [0.2, 0, 0, -3], [0, 0, 0.2, 1], [0, 0, 0, 1.0]])
    save_map(tmp_path / "maps", "a", blocks(0), affine)
    save_map(tmp_path / "maps", "b", blocks(0), np.diag([2.0, 2, 2, 1]))
    reproduce(tmp_path / "maps", ThresholdMaps(), tmp_path)
    for case, expected in (("a", affine), ("b", np.diag([-0.2, -0.2, 0.2, 1]))):
        mask = nibabel.Nifti1Image.from_filename(tmp_path / f"mask/threshold/CC/{case}.nii.gz")
        np.testing.assert_allclose(mask.affine, expected, atol=1e-6)


def test_a_later_run_computes_only_what_is_not_whole(tmp_path: Path) -> None:
    maps, out = save_cases(tmp_path / "maps", 5), tmp_path / "out"
    reproduce(maps, ThresholdMaps(), out)
    whole = result_files(out)
    (out / "mesh/threshold/CC/case1.mesh").unlink()
    (out / "mask/threshold/MD/case2.nii.gz").unlink()
    for name in ("mask/threshold/CC/case3.nii.gz", "mesh/threshold/MD/case4.mesh"):
        (out / name).write_bytes(whole[name][:-3])
    stamps = {file: file.stat().st_mtime_ns for file in out.rglob("case0*") if file.is_file()}
    again = reproduce(maps, ThresholdMaps(), out)
    assert (again.done, again.skipped) == (["case1", "case2", "case3", "case4"], ["case0"])
    assert result_files(out) == whole
    assert {file: file.stat().st_mtime_ns for file in stamps} == stamps
    assert reproduce(maps, ThresholdMaps(), out, force=True).done == [f"case{number}" for number in range(5)]


def test_an_empty_structure_has_a_mask_and_no_surface(tmp_path: Path) -> None:
    maps, out = save_cases(tmp_path / "maps", 1), tmp_path / "out"
    reproduce(maps, ThresholdMaps(), out)
    save_map(maps, "case0", blocks(0) * np.array([0, 1], np.float32)[:, None, None, None])
    reproduce(maps, ThresholdMaps(), out, force=True)
    assert result_files(out).keys() == names("case0") - {"mesh/threshold/MD/case0.mesh"}
    assert reproduce(maps, ThresholdMaps(), out).skipped == ["case0"]


def test_bad_maps_are_named_and_the_others_computed(tmp_path: Path) -> None:
    maps = save_cases(tmp_path / "maps", 9)
    content = save_map(maps, "case8", np.random.default_rng(0).random((2, *GRID), dtype=np.float32)).read_bytes()
    middle = len(content) // 2
    bad = {
        "case0": content[:middle],  # cut short
        "case1": content[:middle] + bytes(64) + content[middle + 64 :],  # damaged
        "case2": content[:-8] + bytes(4) + content[-4:],  # another checksum
        "case3": b"",
        "case4": b"text",
    }
    for case, changed in bad.items():
        (maps / f"{case}.nii.gz").write_bytes(changed)
    save_map(maps, "case5", np.ones((3, *GRID), np.float32))
    nan = blocks(6)
    nan[1, 2, 3, 4] = np.nan
    save_map(maps, "case6", nan)
    (maps / "case9.nii.gz").symlink_to("nowhere")
    (maps / "._case7.nii.gz").write_bytes(b"a shadow of another system")
    result = reproduce(maps, ThresholdMaps(), tmp_path / "out")
    assert result.done == ["case7", "case8"]
    assert sorted(result.failed) == [f"case{number}" for number in range(7)]
    assert all(error.found for error in result.failed.values())
    assert result_files(tmp_path / "out").keys() == names("case7") | names("case8")


def test_results_of_others_are_not_written_over(tmp_path: Path) -> None:
    maps, out = save_cases(tmp_path / "maps", 2), tmp_path / "out"
    reproduce(maps, ThresholdMaps(0.25), out)
    before = result_files(out)
    with pytest.raises(OptionError, match=r"2 cases \(case0, case1\).*--force"):
        reproduce(maps, ThresholdMaps(), out)
    assert result_files(out) == before
    assert reproduce(maps, ThresholdMaps(), out, force=True).done == ["case0", "case1"]
    assert reproduce(maps, ThresholdMaps(), out).skipped == ["case0", "case1"]


def test_published_surfaces_without_masks_are_not_written_over(tmp_path: Path) -> None:
    published = tmp_path / "data" / "mesh" / "threshold" / "CC" / "case1.mesh"
    published.parent.mkdir(parents=True)
    published.write_bytes(b"as downloaded")
    with pytest.raises(OptionError, match="1 cases"):
        reproduce(save_cases(tmp_path / "maps", 2), ThresholdMaps(), tmp_path / "data")
    assert result_files(tmp_path / "data") == {"mesh/threshold/CC/case1.mesh": b"as downloaded"}


def test_folders_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_bytes(b"")
    maps = save_cases(tmp_path / "maps", 1)
    for folder, message in (("none", "missing"), ("empty", "an empty folder"), ("file", "missing")):
        with pytest.raises(ReleaseError, match=message):
            reproduce(tmp_path / folder, ThresholdMaps(), tmp_path / "out")
    (tmp_path / "other" / "chamfer").mkdir(parents=True)
    with pytest.raises(ReleaseError, match="folder threshold of them; found chamfer"):
        reproduce(tmp_path / "other", ThresholdMaps(), tmp_path / "out")
    with pytest.raises(OptionError, match="a file"):
        reproduce(maps, ThresholdMaps(), tmp_path / "file")
    assert not (tmp_path / "out").exists()


def test_two_runs_do_not_write_at_once(tmp_path: Path) -> None:
    maps = save_cases(tmp_path / "maps", 1)
    with ResultFiles(tmp_path, ThresholdMaps()).writing(), pytest.raises(OptionError, match="another run"):
        reproduce(maps, ThresholdMaps(), tmp_path)
    assert reproduce(maps, ThresholdMaps(), tmp_path).done == ["case0"]


def test_a_killed_run_leaves_only_whole_files(tmp_path: Path) -> None:
    maps, out = save_cases(tmp_path / "maps", 150), tmp_path / "out"
    code = (
        "import sys\nfrom pathlib import Path\nsys.path.insert(0, sys.argv[1])\n"
        "from threshold_maps import ThresholdMaps\nfrom model.reproduce.run import reproduce\n"
        "reproduce(Path(sys.argv[2]), ThresholdMaps(), Path(sys.argv[3]))"
    )
    helpers = Path(__file__).resolve().parents[2]
    process = subprocess.Popen([sys.executable, "-c", code, str(helpers), str(maps), str(out)], cwd=helpers.parent)
    while process.poll() is None and len(list(out.rglob("*.mesh"))) < 5:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    left = {name: content for name, content in result_files(out).items() if "/.partial/" not in name}
    again = reproduce(maps, ThresholdMaps(), out)
    assert again.skipped
    assert len(again.done) + len(again.skipped) == 150
    whole = result_files(out)
    assert len(whole) == 4 * 150
    assert left == {name: whole[name] for name in left}
