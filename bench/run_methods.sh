#!/usr/bin/env bash
# Step time of every method on WRN-22-2, batch 128, 90 % sparse, beside dense in the same engine, in alternating runs.
# usage: RIGL=target/release/rigl PYTHON=python3 bench/run_methods.sh OUTPUT_FOLDER [RUNS]
set -euo pipefail
out=$1; runs=${2:-3}
mkdir -p "$out"
methods="dense small-dense static snip set snfs rigl pruning deepr dsr dnw"
{ date -u; uname -sr; grep -m1 'model name' /proc/cpuinfo; "${RIGL:-rigl}" --version; } >"$out/methods-machine.txt" 2>&1
: >"$out/methods.jsonl"
for run in $(seq "$runs"); do
  for distribution in erk uniform; do
    for method in $methods; do
      "${RIGL:-rigl}" bench step cifar10-wrn22-2 --method "$method" --sparsity 0.9 --distribution "$distribution" \
        --batch 128 --seconds 2 --json 2>/dev/null |
        METHOD=$method DISTRIBUTION=$distribution RUN=$run "${PYTHON:-python3}" -c '
import json, os, sys
value = json.load(sys.stdin)
print(json.dumps({"method": os.environ["METHOD"], "distribution": os.environ["DISTRIBUTION"],
                  "run": int(os.environ["RUN"]), "machine": value["machine"], "result": value["result"]}))
' >>"$out/methods.jsonl"
    done
  done
done
OUT=$out "${PYTHON:-python3}" -c '
import json, os, statistics as st
rows = [json.loads(line) for line in open(os.environ["OUT"] + "/methods.jsonl")]
median = lambda d, m, what: st.median(
    1e3 * r["result"][what]["median_s"] for r in rows
    if (r["distribution"], r["method"]) == (d, m) and r["result"][what])
have = lambda d, m, what: any(r["result"][what] for r in rows if (r["distribution"], r["method"]) == (d, m))
for d in dict.fromkeys(r["distribution"] for r in rows):
    dense = median(d, "dense", "step")
    print("%s: step in ms, dense / step; update in ms" % d)
    for m in dict.fromkeys(r["method"] for r in rows):
        step = median(d, m, "step")
        update = "%8.1f" % median(d, m, "update") if have(d, m, "update") else ""
        print("  %-12s %8.1f %6.2f %s" % (m, step, dense / step, update))
' | tee "$out/methods.txt"
