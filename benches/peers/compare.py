#!/usr/bin/env python3
"""Decode and prefill beside llama.cpp and candle: same files, same machine, alternating.

Needs: pip install numpy gguf==0.19.0
       CMAKE_ARGS=-DGGML_NATIVE=ON pip install llama-cpp-python==0.3.36     (built from source)
       cargo build --release --manifest-path benches/peers/candle/Cargo.toml
Run:   python benches/peers/make_synthetic.py FOLDER
       python benches/peers/compare.py --csv benches/peers/results.csv FOLDER/*-Q*.gguf
       python benches/peers/compare.py --context 3456 --candle-runs 0 --csv benches/peers/long.csv FOLDER/1b-*.gguf
       python benches/peers/compare.py --busy 1 --candle-runs 0 --runs 3 --csv benches/peers/busy.csv FOLDER/1b-Q4_K_M.gguf

Each round runs every engine once, in turn, in a process of its own; the table shows medians and
ratios of medians. The load average is printed with each round: shared machines are noisy, so only
ratios within one run of this script mean something. `--busy N` keeps N other processes spinning
meanwhile; `--context N` puts N tokens in the cache before prompt and answer.
"""

import argparse
import csv
import glob
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
FIGURES = ["load_s", "first_s", "prefill_tps", "decode_tps", "memory_mb"]


def run(command, **env):
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **env})
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["no message"])[-1])
    return done.stdout


def ours(binary, path, a):
    command = [binary, "--bench", "--csv", "--runs", "1", "--model", path, "--threads", a.threads]
    out = run([*map(str, command), *map(str, ["--prefill", a.prefill, "--decode", a.decode, "--context", a.context])])
    row = dict(zip(*csv.reader(out.strip().splitlines()[-2:])))
    figures = [float(row[key]) for key in ("load_s", "first_s", "prefill_tps", "decode_tps", "rss_mb")]
    return figures + [float(row["bandwidth_gbs"]), float(row["percent"])]


def llama_cpp(path, a):
    script = ROOT / "benches/peers/peer_llama_cpp.py"
    out = run([sys.executable, *map(str, [script, path, a.prefill, a.decode, a.threads, a.context])])
    return [float(x) for x in out.split()[-5:]] + ["", ""]


def candle(binary, path, a):
    threads = str(a.threads)
    out = run([str(binary), path, str(a.prefill), str(a.decode)], CANDLE_NUM_THREADS=threads, RAYON_NUM_THREADS=threads)
    return [float(x) for x in out.split()] + ["", ""]


def bench_binary():
    out = run(["cargo", "bench", "--manifest-path", str(ROOT / "Cargo.toml"), "--bench", "decode", "--no-run", "--message-format", "json"])
    built = [json.loads(line) for line in out.splitlines()]
    return next(m["executable"] for m in built if m.get("executable") and m["target"]["name"] == "decode")


def table(rows):
    head = ["file", "engine", "load s", "first s", "prefill/s", "decode/s", "MB", "prefill x", "decode x", "% of bandwidth"]
    print("| " + " | ".join(head) + " |\n|" + " --- |" * len(head))
    for name in dict.fromkeys(r[0] for r in rows):
        base = None
        for engine in dict.fromkeys(r[1] for r in rows if r[0] == name):
            mine = [r for r in rows if r[0] == name and r[1] == engine]
            load, first, prefill, decode, memory = (statistics.median(r[i] for r in mine) for i in range(3, 8))
            share = f"{statistics.median(r[9] for r in mine):.0f}" if mine[0][9] != "" else ""
            base = base or (prefill, decode)
            cells = [name, engine, f"{load:.2f}", f"{first:.2f}", f"{prefill:.1f}", f"{decode:.1f}", f"{memory:.0f}"]
            print("| " + " | ".join([*cells, f"{base[0] / prefill:.2f}", f"{base[1] / decode:.2f}", share]) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+")
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--candle-runs", type=int, default=9)
    parser.add_argument("--prefill", type=int, default=512)
    parser.add_argument("--decode", type=int, default=64)
    parser.add_argument("--context", type=int, default=0)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--busy", type=int, default=0)
    parser.add_argument("--csv", type=Path)
    a = parser.parse_args()
    binary = bench_binary()
    peer = Path(os.environ.get("PEER_CANDLE", ROOT / "benches/peers/candle/target/release/peer-candle"))
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(a.busy)]
    rows = []
    try:
        for path in a.files:
            name = Path(path).stem
            for round_ in range(a.runs):
                print(f"{name} round {round_ + 1} of {a.runs}, load {os.getloadavg()[0]:.2f}", file=sys.stderr)
                engines = {"ropewalk": lambda: ours(binary, path, a), "llama.cpp": lambda: llama_cpp(path, a)}
                # candle's example has no way to fill the cache first.
                if round_ < a.candle_runs and peer.exists() and not a.context:
                    engines["candle"] = lambda: candle(peer, path, a)
                for engine, measure in engines.items():
                    try:
                        rows.append([name, engine, round_, *measure(), f"{os.getloadavg()[0]:.2f}", a.context, a.busy])
                    except RuntimeError as e:
                        print(f"  {engine} failed: {e}", file=sys.stderr)
    finally:
        for process in busy:
            process.kill()
    if a.csv:
        with a.csv.open("w", newline="") as f:
            header = ["file", "engine", "run", *FIGURES, "bandwidth_gbs", "percent_of_bandwidth", "loadavg", "context", "busy"]
            csv.writer(f, lineterminator="\n").writerows([header, *rows])
    table(rows)


if __name__ == "__main__":
    main()
