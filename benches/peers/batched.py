#!/usr/bin/env python3
"""Many sequences at once beside llama.cpp's batched decoding: same files, same machine, alternating.

Needs: CMAKE_ARGS=-DGGML_NATIVE=ON pip install llama-cpp-python==0.3.36     (built from source)
Run:   python benches/peers/make_synthetic.py FOLDER
       python benches/peers/batched.py --csv benches/peers/batched.csv FOLDER/1b-Q4_K_M.gguf FOLDER/0.5b-Q8_0.gguf

Each round runs every engine once, in turn, in a process of its own; the table shows medians and
ratios of medians. Prompts are of 64 to 128 tokens, spread evenly, then 64 tokens of each sequence.
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run(command):
    done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["no message"])[-1])
    return done.stdout


def ours(binary, path, a):
    command = [binary, "--bench", "--csv", "--runs", 1, "--model", path, "--threads", a.threads]
    lines = run([*command, "--sequences", a.sequences, "--decode", a.decode]).strip().splitlines()[1:]
    return [line.rsplit(",", 3)[1:] for line in lines]


def llama_cpp(path, a):
    script = ROOT / "benches/peers/peer_batched.py"
    out = run([sys.executable, script, path, a.sequences, a.decode, a.threads])
    return [line.split() for line in out.strip().splitlines()]


def bench_binary():
    out = run(["cargo", "bench", "--manifest-path", ROOT / "Cargo.toml", "--bench", "batched", "--no-run", "--message-format", "json"])
    built = [json.loads(line) for line in out.splitlines()]
    return next(m["executable"] for m in built if m.get("executable") and m["target"]["name"] == "batched")


def table(rows):
    print("| file | sequences | ropewalk prefill/s | llama.cpp prefill/s | x | ropewalk decode/s | llama.cpp decode/s | x |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, sequences in dict.fromkeys((r[0], r[3]) for r in rows):
        cells = [name, str(sequences)]
        for column in (4, 5):
            both = []
            for engine in ("ropewalk", "llama.cpp"):
                found = [r[column] for r in rows if (r[0], r[1], r[3]) == (name, engine, sequences)]
                both.append(statistics.median(found) if found else float("nan"))
            cells += [f"{both[0]:.1f}", f"{both[1]:.1f}", f"{both[0] / both[1]:.2f}"]
        print("| " + " | ".join(cells) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--sequences", default="1,4,16")
    parser.add_argument("--decode", type=int, default=64)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--binary", type=Path, help="the bench, already built")
    parser.add_argument("--csv", type=Path)
    a = parser.parse_args()
    binary = a.binary or bench_binary()
    rows = []
    for path in a.files:
        name = Path(path).stem
        for round_ in range(a.runs):
            print(f"{name} round {round_ + 1} of {a.runs}, load {os.getloadavg()[0]:.2f}", file=sys.stderr)
            for engine, measure in (("ropewalk", lambda: ours(binary, path, a)), ("llama.cpp", lambda: llama_cpp(path, a))):
                try:
                    for sequences, prefill, decode in measure():
                        rows.append([name, engine, round_, int(sequences), float(prefill), float(decode)])
                except RuntimeError as e:
                    print(f"  {engine} failed: {e}", file=sys.stderr)
    if a.csv:
        with a.csv.open("w", newline="") as f:
            header = ["file", "engine", "run", "sequences", "prefill_tps", "decode_tps"]
            csv.writer(f, lineterminator="\n").writerows([header, *rows])
    table(rows)


if __name__ == "__main__":
    main()
