#!/usr/bin/env bash
# Everything that needs a GPU, in one call: build for this device, the gpu tests, compute-sanitizer on small shapes, the benchmark.
# Needs nvcc, CuPy, pybind11, scikit-build-core, cmake and ninja on the machine. Results go to $OUT (default: bench/results).
# Not yet run on a GPU. The build with one architecture has some two minutes of the ten that a run may take; each step is bounded.
set -uo pipefail
cd "$(dirname "$0")/.."
out=${OUT:-bench/results}
mkdir -p "$out"
status=0
step() { printf '\n=== %s (%d s)\n' "$1" "$SECONDS"; }
try() { "$@" || { echo "FAILED: $*"; status=1; }; }

step "build"
DLKERNELS_CUDA=ON DLKERNELS_CUDA_ARCHS=native pip install --no-build-isolation --no-deps --quiet . || exit 1
python -m dlkernels info

step "tests on the device"
try timeout 150 python -m pytest -q -m gpu tests/test_gpu.py tests/test_device.py

step "compute-sanitizer: every op on small shapes"
if command -v compute-sanitizer >/dev/null; then
  for tool in memcheck racecheck initcheck synccheck; do
    try timeout 45 compute-sanitizer --tool "$tool" --error-exitcode 9 python -m bench.gpu_small
  done
else
  echo "compute-sanitizer is not on this machine"
  status=1
fi

step "benchmark"  # every library that is here; --minutes bounds it
try timeout 150 python -m dlkernels bench --device cuda --minutes 1.8 --json "$out/gpu.json" --html "$out/gpu.html"
exit $status
