#!/usr/bin/env bash
# Alternates PyTorch dense and rigl on one network of linear layers; prints each pair and the median ratio.
# usage: PYTHON=/tmp/peers/bin/python RIGL=target/release/rigl compare_linear.sh LAYERS BATCH PAIRS [rigl bench flags…]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
layers=$1 batch=$2 pairs=$3
shift 3
for _ in $(seq "$pairs"); do
  theirs=$("${PYTHON:-python3}" "$here/pytorch_linear.py" --layers "$layers" --batch "$batch" --threads 2 --seconds 2)
  ours=$("${RIGL:-rigl}" bench step --layers "$layers" --batch "$batch" --threads 2 --seconds 2 --json "$@")
  THEIRS=$theirs OURS=$ours "${PYTHON:-python3}" - <<'END'
import json, os
theirs, ours = json.loads(os.environ["THEIRS"]), json.loads(os.environ["OURS"])
a, b = theirs["median_s"], ours["result"]["step"]["median_s"]
machine = ours["machine"]
print(f"{a/b:8.3f} = {1e3*a:.4f} ms / {1e3*b:.4f} ms   ({machine['processor']}, "
      f"{machine['multiply_add_peak_flops_per_core']/1e9:.0f} GFLOP/s a core, "
      f"{machine['read_bandwidth_bytes_per_s']/1e9:.1f} GB/s)")
END
done | tee /dev/stderr | sort -n | awk '{ratio[NR]=$1} END {print "median ratio", ratio[int((NR+1)/2)]}'
