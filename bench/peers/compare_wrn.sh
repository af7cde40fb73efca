#!/usr/bin/env bash
# Alternates PyTorch dense and rigl on WRN-22-2, setting by setting; prints each pair and the ratio of the medians.
# usage: PYTHON=/tmp/peers/bin/python RIGL=target/release/rigl compare_wrn.sh PAIRS [SETTING…]
# settings: dense uniform-90 uniform-95 uniform-98 erk-90 (all of them by default)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
pairs=$1
shift
[ $# -gt 0 ] || set -- dense uniform-90 uniform-95 uniform-98 erk-90
for setting in "$@"; do
  case $setting in
    dense) flags=(--density 1) ;;
    uniform-* | erk-*) flags=(--sparsity "0.${setting##*-}" --distribution "${setting%-*}") ;;
    *) echo "unknown setting: $setting" >&2; exit 2 ;;
  esac
  echo "== PyTorch dense / rigl: $setting"
  for _ in $(seq "$pairs"); do
    theirs=$("${PYTHON:-python3}" "$here/pytorch_wrn.py" --batch 128 --threads 2 --repeats "${REPEATS:-20}")
    ours=$("${RIGL:-rigl}" bench step cifar10-wrn22-2 --set model.dropout=0 --batch 128 --threads 2 \
      --seconds "${SECONDS_OF_RIGL:-5}" --json "${flags[@]}")
    THEIRS=$theirs OURS=$ours "${PYTHON:-python3}" - <<'END'
import json, os
theirs, ours = json.loads(os.environ["THEIRS"]), json.loads(os.environ["OURS"])
machine, result = ours["machine"], ours["result"]
a, b = theirs["median_s"], result["step"]["median_s"]
memory = result["peak_memory_bytes"]
memory = "unknown" if memory is None else (
    f"{memory / theirs['peak_memory_bytes']:.3f} = {memory / 1e6:.0f} / {theirs['peak_memory_bytes'] / 1e6:.0f} MB")
update = result["update"]
update = "none" if update is None else f"{update['median_s'] / b:.2f} steps"
print(f"{a:.6f} {b:.6f} step {a / b:.3f} = {1e3 * a:.1f} / {1e3 * b:.1f} ms; peak memory of rigl {memory}; "
      f"update {update}   ({machine['processor']}, {machine['multiply_add_peak_flops_per_core'] / 1e9:.0f} GFLOP/s "
      f"a core, {machine['read_bandwidth_bytes_per_s'] / 1e9:.1f} GB/s)", flush=True)
END
  done | tee /dev/stderr | "${PYTHON:-python3}" -c '
import statistics, sys
a, b = (statistics.median(column) for column in zip(*(map(float, line.split()[:2]) for line in sys.stdin)))
print(f"ratio of medians {a / b:.3f} = {1e3 * a:.1f} / {1e3 * b:.1f} ms")'
done
