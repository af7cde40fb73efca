#!/usr/bin/env bash
# Measures every figure of docs/performance.md on this machine; prints it and keeps the raw lines.
# usage: PYTHON=/tmp/peers/bin/python RIGL=target/release/rigl bench/run_linear.sh OUTPUT_FOLDER
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=$1
mkdir -p "$out"
big=1024-4096-4096-10
{
  date -u; uname -sr; grep -m1 'model name' /proc/cpuinfo; "${RIGL:-rigl}" --version
  "${PYTHON:-python3}" -c 'import torch; print("torch", torch.__version__)'
} >"$out/machine.txt" 2>&1

compare() { # name layers batch pairs flags…
  local name=$1; shift
  echo "== PyTorch dense / rigl: $name"
  "$here/peers/compare_linear.sh" "$@" 2>&1 | tee "$out/pytorch-$name.txt"
}
recipe=(--set method.layers.fc1=0.99 --set method.layers.fc2=0.89 --set method.layers.fc3=0)
compare lenet 784-300-100-10 100 7 "${recipe[@]}"
compare big-dense $big 128 5 --density 1
for density in 0.1 0.05 0.02; do compare "big-$density" $big 128 5 --density $density; done

echo "== rigl dense / rigl sparse, alternating"
for density in 0.1 0.05 0.02; do
  for _ in 1 2 3 4 5; do
    for d in 1 $density; do
      "${RIGL:-rigl}" bench step --layers $big --batch 128 --density "$d" --threads 2 --seconds 2 --json
    done | DENSITY=$density "${PYTHON:-python3}" -c '
import json, os, sys
decoder, text, at, runs = json.JSONDecoder(), sys.stdin.read(), 0, []
while at < len(text.rstrip()):
    value, end = decoder.raw_decode(text[at:])
    runs.append(value["result"]); at += end
    while at < len(text) and text[at].isspace(): at += 1
dense, sparse = runs
ms = lambda r: 1e3 * r["step"]["median_s"]
print("density %s: step %.2f = %.2f / %.2f ms; peak memory %.3f = %.0f / %.0f MB; dense forward and backward %.2f ms" % (
    os.environ["DENSITY"], ms(dense) / ms(sparse), ms(dense), ms(sparse),
    sparse["peak_memory_bytes"] / dense["peak_memory_bytes"], sparse["peak_memory_bytes"] / 1e6,
    dense["peak_memory_bytes"] / 1e6, 1e3 * dense["gradients"]["median_s"]))'
  done
done | tee "$out/own-dense.txt"

echo "== layers"
for density in 1 0.1 0.05 0.02; do
  "${RIGL:-rigl}" bench layers --layers $big --batch 128 --density $density --threads 2 --seconds 2 2>&1
done | tee "$out/layers.txt"
echo "== a layer of 65,536 × 49,152 with ten million nonzeros"
"${RIGL:-rigl}" bench step --layers 49152-65536-10 --batch 128 --density 0.003104 --threads 2 --seconds 5 2>&1 | tee "$out/wide.txt"
