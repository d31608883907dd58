#!/usr/bin/env bash
# All that can be found out about medkern on a machine with an NVIDIA GPU, in under eight minutes: builds it, runs
# the tests marked cuda, compute-sanitizer on a few cases of each test, and the benchmark against PyTorch. The summary
# comes last; the exit status is 1 if a part failed, 2 if there is no GPU. Parts that fail don't stop the others.
#
# Needs this checkout, a C++20 compiler and a Python with PyTorch and pip; where PyPI can't be reached also, in that
# Python or in the folder of -w, scikit-build-core, pybind11, cmake, ninja, pytest, safetensors and tqdm. NVRTC and the
# CUDA runtime are those of version 12 if they are there, else of version 13, which come with PyTorch. Nothing is
# installed but into build/gpu.
#
#   PYTHON=/path/to/python bench/run_on_gpu.sh [-o FOLDER] [-w FOLDER] [-l SECONDS] [-t ARGUMENTS] [-b ARGUMENTS]
#
#   -o  where results and logs go (bench/results)
#   -w  wheels that are installed first: of medkern itself, which then isn't built, nvidia-cuda-nvrtc-cu12,
#       nvidia-cuda-runtime-cu12, or whatever is missing (MEDKERN_WHEELS)
#   -l  what all parts may take (460)
#   -t  what pytest is told, in place of all tests
#   -b  what medkern bench is told, in place of all cases
#
# With MEDKERN_CUDA=emulated it all runs on the emulator, where times mean nothing.
set -uo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
root=$PWD
python=${PYTHON:-python3}
out=bench/results wheels=${MEDKERN_WHEELS:-} limit=460
tests=(tests) small=(tests/kernels tests/bench/test_operations.py) cases=(all --precision "float32,tf32,bf16")
while getopts o:w:l:t:b: option; do
  case $option in
    o) out=$OPTARG ;;
    w) wheels=$OPTARG ;;
    l) limit=$OPTARG ;;
    t) read -ra tests <<< "$OPTARG"; small=("${tests[@]}") ;;
    b) read -ra cases <<< "$OPTARG" ;;
    *) exit 2 ;;
  esac
done
emulated=$([ "${MEDKERN_CUDA:-}" = emulated ] && echo 1 || echo "")
mkdir -p "$out/logs" build/gpu
out=$(cd "$out" && pwd) logs=$out/logs site=$root/build/gpu/site
summary=$logs/summary.txt
: > "$summary"
failed=0

left() { echo $((limit - SECONDS)); }
has() { "$python" -c "import $1" > "$logs/import.log" 2>&1; }

# say PART STATUS WORDS: a line of the summary; FAILED counts.
say() {
  printf '%-10s %-7s %s\n' "$@" | tee -a "$summary"
  [ "$2" = FAILED ] && failed=1
}

# within SECONDS LOG COMMAND: runs it, interrupted when its time is up, which makes 124, and killed 20 s later.
within() {
  local seconds=$1 log=$2
  shift 2
  timeout -s INT -k 20 "$seconds" "$@" > "$log" 2>&1 < /dev/null
}

# ---------------------------------------------------------------- the machine

"$python" - > "$logs/python.log" 2>&1 << 'END'
import platform
print("Python", platform.python_version())
try:
    import torch
    print("PyTorch", torch.__version__, torch.cuda.get_device_name(0) if torch.cuda.is_available() else "without a GPU")
except ImportError:
    print("no PyTorch")
END
machine=$(paste -sd, "$logs/python.log" | sed 's/,/, /g')
if command -v nvidia-smi > /dev/null; then
  machine+="; $(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>&1 | head -1)"
fi
say machine "" "$machine"

# ---------------------------------------------------------------- build

pip() { "$python" -m pip --disable-pip-version-check --no-input "$@"; }
fetch() { pip install --quiet --no-deps --no-compile --target "$site" --upgrade "$@"; }

# What a build needs, from the wheels, from this Python, or from PyPI.
prepare() {
  rm -rf "$site" && mkdir -p "$site"
  if [ -n "$wheels" ]; then
    fetch --no-index "$wheels"/*.whl || return
  fi
  [ -d "$site/medkern" ] && return
  (cd csrc/cuda && "$python" -c "import compile; print(compile.find_library())") || fetch 'nvidia-cuda-nvrtc-cu12==12.9.*'
  has scikit_build_core || fetch scikit-build-core pathspec packaging || return
  has pybind11 || fetch pybind11 || return
  command -v cmake > /dev/null || has cmake || fetch cmake || return
  command -v ninja > /dev/null || has ninja || fetch ninja || return
}

# shellcheck disable=SC2329  # called by name, in a time limit
build() {
  if ! [ -d "$site/medkern" ]; then
    pip install --no-deps --no-build-isolation --target "$site" --upgrade . || return
  fi
  for need in safetensors tqdm pytest; do
    has "$need" || pip install --quiet --target "$site" --upgrade "$need" || return
  done
}

export PIP_RETRIES=1 PIP_DEFAULT_TIMEOUT=10  # where there is no network, that is soon known
export PYTHONPATH=$site${PYTHONPATH:+:$PYTHONPATH}
start=$SECONDS
prepare > "$logs/prepare.log" 2>&1 || say prepare FAILED "see $logs/prepare.log"
export -f pip fetch has build
export python site logs
if within 240 "$logs/build.log" bash -c build; then
  say build ok "$((SECONDS - start)) s"
else
  say build FAILED "after $((SECONDS - start)) s; see $logs/build.log"
  tail -20 "$logs/build.log"
  exit 1
fi
if [ -n "$emulated" ]; then
  MEDKERN_CUDA_EMULATOR=$("$python" tests/cuda/emulator.py) || exit 1
  export MEDKERN_CUDA_EMULATOR
fi
count() { "$python" -c 'import medkern; print(medkern.cuda.device_count())' 2>&1 | tail -1; }
devices=$(count)
if [[ $devices == *"is not to be found"* ]] && fetch 'nvidia-cuda-runtime-cu12>=12.9,<13' >> "$logs/prepare.log" 2>&1; then
  devices=$(count)
fi
if ! [[ $devices =~ ^[0-9]+$ ]]; then
  say device FAILED "$devices"
  exit 2
fi
gpu=$("$python" -c 'import medkern; print(medkern.cuda.get_device_properties()["name"])')
results=$out/$(tr ' A-Z/' '-a-z-' <<< "$gpu")

# ---------------------------------------------------------------- tests, and sanitizers beside them

options=(-q -rfE -m cuda -W default -p no:cacheprovider)
has pytest_timeout && options+=(--timeout 100 --timeout-method thread)
together=()
[ -z "$emulated" ] && has xdist && together=(-n 6)

# The last line in which pytest counts.
counted() { grep -E '(passed|failed|error|skipped|deselected).* in [0-9.]+' "$1" | tail -1 | tr -d '='; }

test_all() {
  local begin=$SECONDS status
  within "$1" "$logs/tests.log" "$python" -m pytest "${options[@]}" "${together[@]}" "${tests[@]}"
  status=$?
  echo "$status $((SECONDS - begin))" > "$logs/tests.status"
}

# sanitize TOOL SECONDS: its checks of a few cases of each test.
sanitize() {
  local tool=$1 begin=$SECONDS status
  within "$2" "$logs/$tool.log" "$sanitizer" --tool "$tool" --report-api-errors no --error-exitcode 86 \
    --target-processes all "$python" -m pytest "${options[@]}" --few 3 "${small[@]}"
  status=$?
  echo "$status $((SECONDS - begin))" > "$logs/$tool.status"
}

# report PART: what came of it.
report() {
  local status seconds words found
  read -r status seconds < "$logs/$1.status"
  words=$(counted "$logs/$1.log")
  found=$(grep -hoE '(ERROR|RACECHECK) SUMMARY: .*' "$logs/$1.log" | grep -v 'SUMMARY: 0 ' | sort | uniq -c | tail -3)
  [ "$1" != tests ] && words="${found:-nothing found}; $words"
  case $status in
    0) say "$1" ok "$words, $seconds s" ;;
    124 | 137) say "$1" FAILED "not done after $seconds s; $words" ;;
    *) say "$1" FAILED "status $status; $words; see $logs/$1.log" ;;
  esac
}

sanitizer=$(PATH=$PATH:/usr/local/cuda/bin command -v compute-sanitizer)
spent=$(($(left) * 2 / 5))
test_all "$spent" &
if [ -n "$emulated" ]; then
  say sanitizer none "finds nothing in the emulator"
elif [ -n "$sanitizer" ]; then
  sanitize memcheck "$spent" &
  sanitize racecheck "$spent" &
else
  say sanitizer none "compute-sanitizer is not installed: no memcheck, no racecheck"
fi
wait
for part in tests memcheck racecheck; do
  [ -f "$logs/$part.status" ] && report "$part"
done
rm -f "$logs"/*.status

# ---------------------------------------------------------------- benchmark

peers=()
if [ -n "$emulated" ] || ! grep -q '^PyTorch' "$logs/python.log" || grep -q 'without a GPU' "$logs/python.log"; then
  say peers none "no PyTorch that sees this device"
else
  peers=(--peers)
fi
plot=()
has matplotlib && plot=(--plot "$results.png")
start=$SECONDS
within "$(($(left) - 25))" "$logs/bench.log" "$python" -u -m medkern bench "${cases[@]}" --device cuda "${peers[@]}" \
  "${plot[@]}" --json "$results.json" --markdown "$results.md"
status=$?
words="$("$python" -c '
import json, sys
made = json.load(open(sys.argv[1]))
print(len(made["results"]), "cases timed,", len(made["failed"]), "not")' "$results.json" 2>&1 | tail -1)"
if [ $status = 0 ]; then
  say bench ok "$words, $((SECONDS - start)) s"
else
  say bench FAILED "status $status, $words, $((SECONDS - start)) s; see $logs/bench.log"
fi
{
  grep '^medkern ' "$logs/bench.log"
  sed -n '/^family /,$p' "$logs/bench.log"
  grep -A5 'not timed:' "$logs/bench.log" | head -20
} >> "$summary"

printf '\n%s\n' "results in $results.*, logs in $logs; $SECONDS s in all"
cat "$summary"
exit $failed
