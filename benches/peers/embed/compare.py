#!/usr/bin/env python3
"""Embedding texts beside sentence-transformers and onnxruntime: same weights, same threads, alternating.

Needs: pip install numpy==2.4.6 torch==2.15.0 transformers==5.23.0 sentence-transformers==6.2.0 \\
           onnx==1.23.2 onnxruntime==1.31.1 tokenizers==0.23.3
       all-MiniLM-L6-v2 as a folder (config.json, model.safetensors, tokenizer.json, modules.json, ...)
       $ROPEWALK_DATA, whose knowledge-base/**/*.md are cut to chunks and sentences
Run:   python benches/peers/embed/compare.py MODEL_DIR --csv benches/peers/embed/results.csv

Whole texts in, normalised vectors out, tokenisation included. Each round runs every engine once, in
turn; the table shows medians and ratios of medians. Peers stay loaded in processes of their own that
wait meanwhile; ours is started for each round and warms up as they did. The peers sort by length and
pad batches of 32 to their longest text; onnxruntime runs what torch.onnx exports after its BERT
optimizer, which is faster than the plain export. `ort-int8` (quantize_dynamic) is for information.
"""

import argparse
import csv
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[3]
PEERS = ["st", "ort", "ort-int8"]
OURS = ["f32", "int8"]


def texts(data):
    """Chunks of about 500 characters, cut between words, and lines and sentences of 20 to 80."""
    chunks, sentences = [], []
    for path in sorted((data / "knowledge-base").rglob("*.md")):
        text, start = path.read_text(), 0
        while start < len(text):
            end = min(len(text), start + 500)
            space = text.rfind(" ", start, end)
            end = space if end < len(text) and space > start else end
            chunks.append(text[start:end].strip())
            start = end
        sentences += [s.strip() for s in re.split(r"[.\n]+", text) if 20 <= len(s.strip()) <= 80]
    return {"chunks": [c for c in chunks if c], "sentences": sentences[:1024]}


def bench_binary():
    command = ["cargo", "bench", "--manifest-path", str(ROOT / "Cargo.toml"), "-p", "ropewalk-benches", "--bench", "embed", "--no-run", "--message-format", "json"]
    built = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    messages = [json.loads(line) for line in built.splitlines()]
    return next(m["executable"] for m in messages if m.get("executable") and m["target"]["name"] == "embed")


class Peer:
    def __init__(self, engine, model, threads, file):
        command = [sys.executable, str(Path(__file__).with_name("peer.py")), engine, model, str(threads), file]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        while (line := self.process.stdout.readline().strip()) != "ready":
            if not line and self.process.poll() is not None:
                raise RuntimeError(f"{engine} did not start")

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline()

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def ours(binary, a, precision, threads, file, name, save=None):
    command = [binary, "--bench", "--csv", "--runs", "1", "--model", a.model, "--texts", file, "--set", name]
    command += ["--precision", precision, "--threads", str(threads)] + (["--save", save] if save else [])
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip() or "the bench failed")
    row = dict(zip(*csv.reader(done.stdout.strip().splitlines()[-2:])))
    return {"seconds": float(row["seconds"]), "texts": int(row["texts"]), "tokens": int(row["tokens"])}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--sets", nargs="+", default=["chunks", "sentences"])
    parser.add_argument("--peers", nargs="+", default=PEERS)
    parser.add_argument("--binary", help="the bench, where it is built already")
    parser.add_argument("--csv", type=Path)
    a = parser.parse_args()
    binary = a.binary or bench_binary()
    rows, vectors = [], {}
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/texts.json"
        Path(file).write_text(json.dumps(texts(Path(os.environ["ROPEWALK_DATA"]))))
        for threads in a.threads:
            peers = {engine: Peer(engine, a.model, threads, file) for engine in a.peers}
            for name in a.sets:
                for round_ in range(a.rounds):
                    print(f"{name}, {threads} threads, round {round_ + 1} of {a.rounds}, load {os.getloadavg()[0]:.2f}", file=sys.stderr)
                    for engine in [*OURS, *a.peers]:
                        # Threads of the engine before may still spin.
                        time.sleep(0.3)
                        if engine in OURS:
                            got = ours(binary, a, engine, threads, file, name)
                        else:
                            got = json.loads(peers[engine].ask(name))
                        rows.append([name, threads, engine, round_, got["seconds"], got["texts"], got["tokens"], f"{os.getloadavg()[0]:.2f}"])
                for engine in [*OURS, *a.peers]:
                    if engine in OURS:
                        ours(binary, a, engine, threads, file, name, f"{folder}/out.f32")
                        vectors[name, threads, engine] = np.fromfile(f"{folder}/out.f32", np.float32)
                    else:
                        peers[engine].ask(f"save {name} {folder}/out.npy")
                        vectors[name, threads, engine] = np.load(f"{folder}/out.npy").reshape(-1)
            for peer in peers.values():
                peer.close()
    if a.csv:
        with a.csv.open("w", newline="") as f:
            header = ["set", "threads", "engine", "round", "seconds", "texts", "tokens", "loadavg"]
            csv.writer(f, lineterminator="\n").writerows([header, *rows])
    head = ["set", "threads", "engine", "texts/s", "tokens/s", "our f32 x", "our int8 x", "cosine to our f32: least", "mean", "largest difference"]
    print("| " + " | ".join(head) + " |\n|" + " --- |" * len(head))
    for name, threads in dict.fromkeys((r[0], r[1]) for r in rows):
        middle = {e: statistics.median(r[4] for r in rows if r[:3] == [name, threads, e]) for e in [*OURS, *a.peers]}
        count, tokens = next(r[5:7] for r in rows if r[0] == name)
        base = vectors[name, threads, "f32"].reshape(count, -1).astype(np.float64)
        for engine, seconds in middle.items():
            other = vectors[name, threads, engine].reshape(count, -1).astype(np.float64)
            cosine = (base * other).sum(1) / np.linalg.norm(base, axis=1) / np.linalg.norm(other, axis=1)
            cells = [name, str(threads), engine, f"{count / seconds:.0f}", f"{tokens / seconds:.0f}"]
            cells += [f"{seconds / middle[e]:.2f}" for e in OURS]
            cells += [f"{cosine.min():.6f}", f"{cosine.mean():.6f}", f"{np.abs(base - other).max():.1e}"]
            print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
