#!/usr/bin/env bash
# Everything that needs a GPU, in one call: build for this device, the gpu tests, the benchmark, compute-sanitizer on small shapes.
# NOT YET RUN ON A GPU. Expected on 16 cores: a minute and a half for the build (its longest files, by CPU seconds: the CPU's reduce loop 39,
# reduce.cu for one architecture 35), 2 for the tests, 3 for the benchmark, the rest for compute-sanitizer.
#
#   bench/gpu.sh                 results go to $OUT (default: bench/results): gpu.log, gpu.json, gpu.html, gpu_host.json
#   BUDGET=300 bench/gpu.sh      seconds in all (default 570: a run may take ten minutes). Each step has a limit of its own within it
#   STEPS="build tests" ...      only these; what has been built is kept in build/gpu, so a second call builds what has changed
#
# Needs nvcc, CuPy, pybind11 (3), scikit-build-core (1), cmake, ninja, pytest and pytest-xdist on the machine; no network. Of what is missing
# there or too old, put wheels into .whl/ (apache-tvm-ffi need not be there: CuPy has a dlpack.h). A step that fails or is
# cut does not keep the later ones from running (but without the build there are none); the last lines say how each of them ended.
set -uo pipefail
cd "$(dirname "$0")/.."
out=${OUT:-bench/results}
budget=${BUDGET:-570}
steps=${STEPS:-build tests benchmark sanitizer}
python=${PYTHON:-python3}
export PYTHONUNBUFFERED=1 XLA_PYTHON_CLIENT_PREALLOCATE=false PIP_DISABLE_PIP_VERSION_CHECK=1
mkdir -p "$out"

summary=""
status=0
note() {
  summary+="$1"$'\n'
  [[ $1 == *": ok"* ]] || status=1
}
# step NAME LIMIT COMMAND...: at most LIMIT seconds, at most what is left
step() {
  local name=$1 limit=$2 began=$SECONDS left=$((budget - SECONDS)) code
  shift 2
  if ((left < 10)); then
    note "$name: not run, no time was left"
    return 1
  fi
  ((left < limit)) && limit=$left
  printf '\n=== %s (at %d s, at most %d s)\n' "$name" "$began" "$limit"
  timeout -s INT -k 5 "$limit" "$@"  # INT: Python ends in good order
  code=$?
  case $code in
    0) note "$name: ok, $((SECONDS - began)) s" ;;
    124 | 130 | 137) note "$name: cut after $((SECONDS - began)) s" ;;
    *) note "$name: FAILED with code $code after $((SECONDS - began)) s" ;;
  esac
  return $code
}
wanted() { [[ " $steps " == *" $1 "* ]]; }

run_all() {
  nvidia-smi --query-gpu=name,driver_version,memory.used,clocks.sm --format=csv,noheader || true
  nvcc --version | tail -n 2 || true
  if compgen -G ".whl/*.whl" >/dev/null; then
    step "wheels that came along" 60 "$python" -m pip install --quiet --no-index --no-deps --upgrade --target /tmp/site .whl/*.whl
    export PYTHONPATH=/tmp/site
  fi
  if wanted build; then
    # one CPU target is enough to compare with: they all have the same bits
    step build 280 env DLKERNELS_CUDA=ON DLKERNELS_CUDA_ARCHS="${DLKERNELS_CUDA_ARCHS:-native}" SKBUILD_BUILD_DIR=build/gpu \
      CMAKE_BUILD_PARALLEL_LEVEL="$(nproc)" "$python" -m pip install --quiet --no-index --no-deps --no-build-isolation \
      --force-reinstall -Ccmake.define.DLK_ONLY_TARGETS=avx2 . || {
      printf '\n%s' "$summary"
      return 1
    }
  fi
  step "what was built" 60 "$python" -m dlkernels info
  if wanted tests; then  # warnings of other libraries' imports are none of ours here
    step "tests on the device" 200 "$python" -m pytest -q --maxfail=25 -W default -m gpu -p no:cacheprovider \
      --durations=10 tests/test_gpu.py tests/test_device.py tests/test_device_fused.py tests/test_optimizer_device.py \
      tests/test_bench_device.py
  fi
  if wanted benchmark; then  # every library that is here; rows are written as they come
    step "benchmark" 170 "$python" -m dlkernels bench --device cuda --minutes 2 --json "$out/gpu.json" --html "$out/gpu.html"
    step "what calls cost the host" 60 "$python" -m bench.gpu_host "$out/gpu_host.json"
    if [[ -s $out/gpu.json && ! $out/gpu.html -nt $out/gpu.json ]]; then
      step "benchmark's page" 30 "$python" -m dlkernels bench --show "$out/gpu.json" --html "$out/gpu.html"
    fi
  fi
  if wanted sanitizer; then  # last: what remains of the time is theirs
    if command -v compute-sanitizer >/dev/null; then
      for tool in memcheck racecheck synccheck initcheck; do
        step "compute-sanitizer, $tool" 100 compute-sanitizer --tool "$tool" --error-exitcode 9 --print-limit 20 \
          "$python" -m bench.gpu_small --seconds 60
      done
    else
      note "compute-sanitizer: not on this machine"
    fi
  fi
  printf '\n=== after %d s\n%s' "$SECONDS" "$summary"
  return $status
}

run_all 2>&1 | tee "$out/gpu.log"
exit "${PIPESTATUS[0]}"
