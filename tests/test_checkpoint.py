"""Checkpoints: equal after a round trip, refused when damaged, whole whatever happens during a save."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from dlkernels import nn
from dlkernels.atomic import replacing
from dlkernels.checkpoint import CheckpointError, load, pack, save, unpack

DTYPES = ["f8", "f4", "f2", ml_dtypes.bfloat16, "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?"]


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: np.dtype(dtype).name)
def test_every_dtype_comes_back(tmp_path, dtype, rng):
    arrays = {
        "matrix": rng.integers(0, 2, (3, 4)).astype(dtype),
        "scalar": np.array(1, dtype),
        "empty": np.zeros((0, 5), dtype),
        "": rng.integers(0, 100, 7).astype(dtype),
        'quo"te/\u00e9\\': np.ones(1, dtype),
    }
    save(tmp_path / "a", arrays)
    back = load(tmp_path / "a").arrays
    assert list(back) == list(arrays)
    for name, array in arrays.items():
        assert same(back[name], array)
        assert back[name].flags.writeable
        assert back[name].flags.aligned


def test_special_values_keep_their_bits(tmp_path):
    array = np.array([0x7FC00001, 0xFF800000, 0x80000000, 1], "u4").view("f4")  # NaN payload, -inf, -0, subnormal
    save(tmp_path / "a", {"x": array})
    assert same(load(tmp_path / "a").arrays["x"], array)


@pytest.mark.parametrize(
    "view",
    [
        lambda a: a.T,
        lambda a: a[::-1],
        lambda a: a[:, ::2],
        lambda a: np.broadcast_to(a[:1], (4, 6)),
        np.asfortranarray,
    ],
    ids=["transposed", "reversed", "strided", "broadcast", "fortran"],
)
def test_views_are_written_as_they_read(tmp_path, view):
    array = view(np.arange(24, dtype="f4").reshape(4, 6))
    save(tmp_path / "a", {"x": array, "big-endian": array.astype(">f4")})
    back = load(tmp_path / "a").arrays
    assert np.array_equal(back["x"], array)
    assert same(back["big-endian"], back["x"])


def test_metadata_comes_back(tmp_path):
    metadata = {"epoch": 3, "lr": 0.1 + 0.2, "nested": [None, True, "\u00fc", {"a": -0.0}]}
    save(tmp_path / "a", {}, metadata)
    assert load(tmp_path / "a").metadata == metadata
    save(tmp_path / "a", {})
    assert load(tmp_path / "a").metadata is None


def test_other_programs_read_our_files_and_we_read_theirs(tmp_path, rng):
    safetensors = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed")
    arrays = {
        "w": rng.normal(size=(3, 4)).astype("f4"),
        "h": np.ones((2, 2), ml_dtypes.bfloat16),
        "e": np.zeros((0, 2)),
    }
    save(tmp_path / "ours", arrays)
    theirs = safetensors.load_file(tmp_path / "ours")
    assert all(same(theirs[name], array) for name, array in arrays.items())
    safetensors.save_file(arrays, tmp_path / "theirs")
    with pytest.raises(CheckpointError, match=r"no dlkernels checksums[^$]*verify=False"):
        load(tmp_path / "theirs")
    back = load(tmp_path / "theirs", verify=False).arrays
    assert all(same(back[name], array) for name, array in arrays.items())


# -- damage ------------------------------------------------------------------------------------------------


@pytest.fixture
def small_file(tmp_path):
    """A file of a few hundred bytes, its path and its bytes."""
    path = tmp_path / "small"
    save(path, {"w": np.arange(6, dtype="f4").reshape(2, 3)})
    return path, path.read_bytes()


def test_every_truncation_is_an_error(small_file):
    path, whole = small_file
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError):
            load(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(CheckpointError):
        load(path)


def test_every_flipped_bit_is_an_error(small_file):
    path, whole = small_file
    for bit in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError):
            load(path)


def test_flipped_bits_in_a_large_file_are_errors(tmp_path, rng):
    path = tmp_path / "large"
    save(path, {f"{i}": rng.normal(size=(50, 50)) for i in range(4)})
    whole = path.read_bytes()
    for bit in rng.integers(0, 8 * len(whole), 1000):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << int(bit) % 8
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError):
            load(path)


@pytest.mark.parametrize(
    "header",
    [
        {"w": {"dtype": "F4", "shape": [2], "data_offsets": [0, 8]}},
        {"w": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}},
        {"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}},
        {"w": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}},
        {"w": {"dtype": "F32", "shape": [1 << 60], "data_offsets": [0, 1 << 62]}},
        {"w": {"dtype": "F32", "shape": "2", "data_offsets": [0, 8]}},
        {"w": {"dtype": "F32", "data_offsets": [0, 8]}},
        {"w": 3},
        [1, 2],
        {"__metadata__": [1]},
        {"__metadata__": {"a": 1}},
        {"__metadata__": {"dlkernels.metadata": "{"}},
    ],
)
def test_a_malicious_header_is_an_error_not_an_allocation(tmp_path, header):
    text = json.dumps(header).encode()
    data = b"\0" * (0 if "__metadata__" in header else 8)
    (tmp_path / "a").write_bytes(struct.pack("<Q", len(text)) + text + data)
    with pytest.raises(CheckpointError):
        load(tmp_path / "a", verify=False)


@pytest.mark.parametrize("junk", [b"", b"\0" * 8, b"\xff" * 64, b"PK\x03\x04" + b"\0" * 60, b"\x80\x04." + b"x" * 50])
def test_other_formats_are_errors(tmp_path, junk):
    (tmp_path / "a").write_bytes(junk)
    for verify in (True, False):
        with pytest.raises(CheckpointError):
            load(tmp_path / "a", verify=verify)


@pytest.mark.torch
def test_a_tensor_that_needs_a_gradient_is_refused_by_name(tmp_path):
    import torch

    save(tmp_path / "a", {"x": torch.ones(2)})
    assert same(load(tmp_path / "a").arrays["x"], np.ones(2, "f4"))
    with pytest.raises(TypeError, match=r"arrays\['y'\] cannot be read as a NumPy array: .*detach"):
        save(tmp_path / "a", {"y": torch.ones(2, requires_grad=True)})


def test_what_cannot_be_saved_is_refused_before_the_old_file_is_touched(small_file):
    path, whole = small_file
    with pytest.raises(TypeError, match=r"arrays\['x'\] must be one of float64.*got object"):
        save(path, {"x": np.array([None])})
    with pytest.raises(TypeError, match="complex128"):
        save(path, {"x": np.zeros(2, "c16")})
    with pytest.raises(ValueError, match="__metadata__"):
        save(path, {"__metadata__": np.zeros(2)})
    with pytest.raises(TypeError, match="save: metadata must be plain JSON"):
        save(path, {}, {"x": object()})
    assert path.read_bytes() == whole
    assert names_in(path.parent) == [path.name]


# -- crashes -----------------------------------------------------------------------------------------------


def test_a_failure_at_any_system_call_leaves_old_or_new_whole(tmp_path, monkeypatch, rng):
    """SQLite's method: let the n-th operation fail, for n = 1, 2, ... until a save goes through."""
    path = tmp_path / "a"
    old, new = {"x": rng.normal(size=1000)}, {"x": rng.normal(size=2000)}
    real = {name: getattr(os, name) for name in ("fsync", "replace", "open")}
    countdown = [0]

    def counted(function):
        def call(*args, **options):
            countdown[0] -= 1
            if countdown[0] == 0:
                raise OSError(5, "injected")
            return function(*args, **options)

        return call

    survived = 0
    for nth in range(1, 50):
        save(path, old)
        with monkeypatch.context() as patch:
            for name, function in real.items():
                patch.setattr(os, name, counted(function))
            patch.setattr(Path, "open", counted(Path.open))
            countdown[0] = nth
            try:
                save(path, new)
            except OSError:
                survived += 1
            else:
                break
        assert same(load(path).arrays["x"], old["x"]) or same(load(path).arrays["x"], new["x"])
        assert names_in(tmp_path) == ["a"], "no temporary file stays behind"
    else:
        pytest.fail("save never went through")
    assert survived >= 4  # open, fsync, replace, open and fsync of the directory
    assert same(load(path).arrays["x"], new["x"])


def run(code: str, *args: object, **options) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(code), *map(str, args)], **options)


def test_kill_9_while_overwriting_leaves_a_whole_file(tmp_path):
    path = tmp_path / "a"
    code = """
        import sys, numpy as np
        from dlkernels.checkpoint import save
        for i in range(10**9):
            save(sys.argv[1], {"x": np.full(500_000, i), "y": np.full(3, i)}, i)
            print(i, flush=True)
    """
    rng = np.random.default_rng(0)
    left_behind = 0
    for _ in range(4):
        child = run(code, path, stdout=subprocess.PIPE)
        child.stdout.readline()  # one save is done
        for _ in range(4):
            time.sleep(rng.uniform(0.002, 0.03))
            back = load(path)  # a reader at any moment sees a whole file
            assert (back.arrays["x"] == back.metadata).all()
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        back = load(path)
        assert (back.arrays["x"] == back.metadata).all()
        assert (back.arrays["y"] == back.metadata).all()
        left_behind = max(left_behind, len(names_in(tmp_path)) - 1)
    save(path, {"x": np.zeros(1)})
    assert names_in(tmp_path) == ["a"], "the next save sweeps what killed processes left"
    assert left_behind <= 1, "and so did every run before it"


def test_a_full_disk_leaves_the_old_file(tmp_path):
    path = tmp_path / "a"
    save(path, {"x": np.arange(10)})
    whole = path.read_bytes()
    code = """
        import resource, signal, sys, numpy as np
        from dlkernels.checkpoint import save
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            save(sys.argv[1], {"x": np.zeros(100_000)})
        except OSError as error:
            sys.exit(7 if error.errno == 27 else 1)
    """
    assert run(code, path).wait() == 7
    assert path.read_bytes() == whole
    assert names_in(tmp_path) == ["a"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_no_space_left_at_the_last_byte(tmp_path, monkeypatch):
    path = tmp_path / "a"
    save(path, {"x": np.arange(10)})
    whole = path.read_bytes()
    real = Path.open

    def full(self: Path, *args):
        return real(Path("/dev/full"), "wb") if self.name.startswith(".tmp-") else real(self, *args)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(OSError, match="No space left"):
        save(path, {"x": np.arange(10)})
    monkeypatch.undo()
    assert path.read_bytes() == whole


def test_a_link_is_followed_and_a_folder_is_made(tmp_path):
    save(tmp_path / "deep" / "er" / "a", {"x": np.zeros(2)})
    (tmp_path / "link").symlink_to(tmp_path / "deep" / "er" / "a")
    save(tmp_path / "link", {"x": np.ones(2)})
    assert (tmp_path / "link").is_symlink()
    assert load(tmp_path / "deep" / "er" / "a").arrays["x"].all()


def test_a_live_process_keeps_its_temporary_file(tmp_path):
    save(tmp_path / "a", {})
    with replacing(tmp_path / "b") as file:
        file.write(b"half")
        mine = [name for name in names_in(tmp_path) if name.startswith(".tmp-")]
        save(tmp_path / "a", {"x": np.ones(1)})
        assert set(mine) < set(names_in(tmp_path))
    assert (tmp_path / "b").read_bytes() == b"half"
    assert names_in(tmp_path) == ["a", "b"]


# -- models and trees --------------------------------------------------------------------------------------


def test_a_model_comes_back(tmp_path):
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2), seed=0)
    model.save(tmp_path / "a")
    twin = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2), seed=1)
    twin.load(tmp_path / "a")
    assert all(same(a, b) for a, b in zip(model.params(), twin.params(), strict=True))
    other = nn.Sequential(nn.Linear(3, 5), seed=1)
    before = [array.copy() for array in other.params()]
    with pytest.raises(ValueError, match="load_state_dict"):
        other.load(tmp_path / "a")
    assert all(same(a, b) for a, b in zip(other.params(), before, strict=True))


def test_trees_come_back_equal(tmp_path):
    tree = {
        "state": {0: {"step": 3, "m": np.arange(3.0)}, 1: {"step": np.float64(4), "m": np.zeros((0, 2))}},
        "param_groups": [{"lr": 1e-3, "betas": (0.9, 0.999), "nesterov": False, "params": [0, 1], "none": None}],
    }
    arrays: dict[str, np.ndarray] = {}
    packed = pack(tree, arrays, "optimizer/")
    save(tmp_path / "a", arrays, packed)
    back = load(tmp_path / "a")
    result = unpack(back.metadata, back.arrays)
    assert result["param_groups"] == tree["param_groups"]
    assert isinstance(result["param_groups"][0]["betas"], tuple)
    assert list(result["state"]) == [0, 1]
    assert result["state"][0]["step"] == 3
    assert same(result["state"][0]["m"], tree["state"][0]["m"])
    assert same(result["state"][1]["m"], tree["state"][1]["m"])
    assert all("/" in name for name in arrays), "so that a parameter's name is never taken"
