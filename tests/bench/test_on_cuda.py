"""The benchmark on a CUDA device, or on the emulator, whose times mean nothing."""

import json
import os
import subprocess
import sys

import pytest
from medkern.bench import __main__ as command
from medkern.bench import case, cases, device_peak, harness, machine
from medkern.bench.libraries import own_cuda, pytorch_cuda

import medkern

no_device = pytest.mark.skipif(not medkern.cuda.is_available(), reason="no CUDA device and no emulator")

SMALL = {
    "gemm": [
        case.Case("square", f"gemm_{p}", "gemm", {"m": 9, "n": 8, "k": 7}, (), p) for p in case.PRECISIONS
    ],
    "conv": [
        case.Case("layer", "layers_tf32", "conv", {"x": [1, 4, 5, 6], "filters": 3}, (), "tf32"),
        case.Case(
            "step", "layers_gradients_float32", "conv_gradients", {"x": [1, 4, 5, 6], "filters": 3}, ()
        ),
    ],
    "stream": [case.Case("image", "stream_float32", "norm", {"x": [2, 4, 5, 6], "kind": "batch"}, ())],
}


@pytest.fixture
def fast(monkeypatch):
    for name in ("WARM_UP_SECONDS", "SAMPLE_SECONDS", "TURN_SECONDS", "CASE_SECONDS"):
        monkeypatch.setattr(harness, name, 1e-4)


@pytest.mark.cuda
@no_device
def test_the_command_measures_on_a_device(fast, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(command, "BY_DEVICE", {"cpu": {}, "cuda": SMALL})
    files = tmp_path / "r.json", tmp_path / "r.md"
    words = ["--device", "cuda", "--precision", "float32,tf32,bf16"]
    assert command.main([*words, "--json", str(files[0]), "--markdown", str(files[1])]) == 0
    made, page = json.loads(files[0].read_text()), files[1].read_text()
    titles = ["square", "square_tf32", "square_bf16", "layer_tf32", "step", "image"]
    assert [row["name"] for row in made["results"]] == titles and made["failed"] == {}
    assert [row["precision"] for row in made["results"]][:3] == list(case.PRECISIONS)
    # Operands of fewer bits make larger errors.
    errors = [row["timings"]["medkern"]["error"] for row in made["results"]]
    assert errors[0] < 1e-6 < errors[1] < errors[2]
    assert made["gpu"]["name"] == medkern.cuda.get_device_properties()["name"]
    assert set(made["peak"]["products"]) == set(case.PRECISIONS) and made["peak"]["gbytes"] > 0
    assert (
        f"# medkern on {made['gpu']['name']}" in page
        and "| square_tf32 |" in page
        and "Measured peak" in page
    )
    assert "layer_tf32" in capsys.readouterr().out


@pytest.mark.cuda
@no_device
def test_a_peak_is_measured_on_the_device(monkeypatch):
    monkeypatch.setattr(device_peak, "_SAMPLES", 1)
    with medkern.device("cuda"):
        found = own_cuda.peak()
    assert found.gflops >= found.products["float32"] > 0 and found.gbytes > 0
    assert medkern.get_float32_matmul_precision() == "highest"


def test_the_peers_peak(monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setattr(pytorch_cuda, "DEVICE", "cpu")
    found = pytorch_cuda.peak()
    assert set(found.products) == set(case.PRECISIONS) and min(found.products.values()) > 0
    assert found.or_better(type(found)(0.0, 1e9)).gbytes == 1e9


def test_without_a_device_the_command_says_so():
    words = [sys.executable, "-m", "medkern", "bench", "--device", "cuda", "gemm"]
    done = subprocess.run(words, env={**os.environ, "MEDKERN_CUDA": "off"}, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == (
        "bench: there is no CUDA device to measure. CUDA is switched off by MEDKERN_CUDA=off\n"
    )


def test_what_nvidia_smi_says(monkeypatch, tmp_path):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho '580.1, 1980, 1980, 3201, 700.00, 40'\n")
    program.chmod(0o755)
    about = {"name": "G", "memory_bytes": 2**31, "multiprocessors": 2, "compute_capability": (9, 0)}
    monkeypatch.setattr(medkern.cuda, "get_device_properties", lambda: {**about, "emulated": False})
    monkeypatch.setenv("PATH", str(tmp_path))
    found = machine.gpu()
    assert found["name"] == "G" and found["driver"] == "580.1" and found["SM clock MHz"] == "1980"
    program.write_text("#!/bin/sh\nexit 9\n")
    assert "driver" not in machine.gpu()


def test_families_end_in_their_precision():
    for kind in cases.BY_DEVICE["cuda"].values():
        for each in kind:
            assert each.family.endswith(f"_{each.precision}") and each.peers == ("torch", "torch-cl")
