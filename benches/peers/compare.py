#!/usr/bin/env python3
"""Decode and prefill beside llama.cpp and candle: same files, same machine, alternating.

Needs: pip install numpy gguf==0.19.0
       CMAKE_ARGS=-DGGML_NATIVE=ON pip install llama-cpp-python==0.3.36     (built from source)
       cargo build --release --manifest-path benches/peers/candle/Cargo.toml
Run:   python benches/peers/compare.py --runs 9 --csv benches/peers/results.csv FILE.gguf...
       without files it makes synthetic ones of 1B shape (benches/lib.rs) in Q4_K and Q8_0

Each round runs every engine once, in turn, in a process of its own; the table shows medians and
ratios of medians. The load average is printed with each round: shared machines are noisy, so only
ratios within one run of this script mean something.
"""

import argparse
import csv
import glob
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))


def ours(binary, path, prefill, decode, threads):
    args = [binary, "--bench", "--csv", "--runs", "1", "--prefill", str(prefill), "--decode", str(decode)]
    out = subprocess.run([*args, "--threads", str(threads), "--model", path], capture_output=True, text=True, check=True).stdout
    row = dict(zip(*csv.reader(out.strip().splitlines()[-2:])))
    return float(row["load_s"]), float(row["prefill_tps"]), float(row["decode_tps"]), float(row["bandwidth_gbs"]), float(row["percent"])


def peer(command):
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return tuple(map(float, out.split()[-3:]))


def bench_binary():
    subprocess.run(["cargo", "bench", "--bench", "decode", "--no-run"], cwd=ROOT, check=True, capture_output=True)
    found = [p for p in glob.glob(str(TARGET / "release/deps/decode-*")) if os.access(p, os.X_OK) and not p.endswith(".d")]
    return max(found, key=os.path.getmtime)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*")
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--prefill", type=int, default=512)
    parser.add_argument("--decode", type=int, default=64)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    binary = bench_binary()
    if not args.files:
        subprocess.run([binary, "--bench", "--runs", "1", "--prefill", "8", "--decode", "1"], check=True, capture_output=True)
        args.files = sorted(glob.glob(tempfile.gettempdir() + "/ropewalk-bench-1B-*.gguf"))
    candle = Path(os.environ.get("PEER_CANDLE", TARGET / "release/peer-candle"))
    if not candle.exists():
        candle = ROOT / "benches/peers/candle/target/release/peer-candle"
    rows = []
    for path in args.files:
        name = Path(path).stem
        numbers = [str(args.prefill), str(args.decode)]
        engines = {
            "ropewalk": lambda: ours(binary, path, args.prefill, args.decode, args.threads),
            "llama.cpp": lambda: peer([sys.executable, str(ROOT / "benches/peers/peer_llama_cpp.py"), path, *numbers, str(args.threads)]),
        }
        if candle.exists():
            env = {**os.environ, "CANDLE_NUM_THREADS": str(args.threads), "RAYON_NUM_THREADS": str(args.threads)}
            engines["candle"] = lambda: tuple(
                map(float, subprocess.run([str(candle), path, *numbers], capture_output=True, text=True, check=True, env=env).stdout.split())
            )
        for run in range(args.runs):
            print(f"{name} round {run + 1} of {args.runs}, load {os.getloadavg()[0]:.2f}", file=sys.stderr)
            for engine, measure in engines.items():
                try:
                    load, prefill, decode, *rest = measure()
                except subprocess.CalledProcessError as e:
                    print(f"  {engine} failed: {e.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
                    continue
                bandwidth, percent = rest or ("", "")
                rows.append([name, engine, run, load, prefill, decode, bandwidth, percent, f"{os.getloadavg()[0]:.2f}"])
    header = ["file", "engine", "run", "load_s", "prefill_tps", "decode_tps", "bandwidth_gbs", "percent_of_bandwidth", "loadavg"]
    if args.csv:
        with args.csv.open("w", newline="") as f:
            csv.writer(f, lineterminator="\n").writerows([header, *rows])
    print(f"{'file':<22}{'engine':<11}{'load s':>8}{'prefill':>9}{'decode':>8}{'prefill x':>11}{'decode x':>10}{'% of bandwidth':>16}")
    for name in dict.fromkeys(r[0] for r in rows):
        base = None
        for engine in dict.fromkeys(r[1] for r in rows if r[0] == name):
            mine = [r for r in rows if r[0] == name and r[1] == engine]
            mid = [statistics.median(r[i] for r in mine) for i in (3, 4, 5)]
            share = statistics.median(r[7] for r in mine) if mine[0][7] != "" else None
            base = base or mid
            ratios = f"{base[1] / mid[1]:>11.2f}{base[2] / mid[2]:>10.2f}"
            print(f"{name:<22}{engine:<11}{mid[0]:>8.2f}{mid[1]:>9.1f}{mid[2]:>8.1f}{ratios}" + (f"{share:>15.0f} %" if share else ""))


if __name__ == "__main__":
    main()
