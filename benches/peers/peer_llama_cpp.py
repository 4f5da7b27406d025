"""Prints `load first prefill decode memory` of llama.cpp: seconds, seconds, tokens/s, tokens/s, MB.

`first` is the time until a prompt of 16 tokens is answered, with loading; memory is what the system
counts for the process then (VmRSS).

Usage: peer_llama_cpp.py FILE.gguf PREFILL DECODE THREADS [CONTEXT]
"""

import sys
import time

import llama_cpp

path, prefill, decode, threads, *context = sys.argv[1], *map(int, sys.argv[2:6])
context = context[0] if context else 0


def resident_mb():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 / 1e6 for line in status if line.startswith("VmRSS"))


before = resident_mb()
start = time.perf_counter()
model = llama_cpp.Llama(
    path, n_ctx=context + prefill + decode + 8, n_batch=512, n_threads=threads, n_threads_batch=threads, verbose=False
)
load = time.perf_counter() - start
model.eval([i * 7919 % 30000 for i in range(16)])
first = time.perf_counter() - start
# Without what Python and its packages take.
memory = resident_mb() - before
model.reset()
if context:
    model.eval([i * 7919 % 30000 for i in range(context)])
start = time.perf_counter()
model.eval([i * 7919 % 30000 for i in range(prefill)])
prefill_rate = prefill / (time.perf_counter() - start)
start = time.perf_counter()
for i in range(decode):
    model.eval([i * 31 % 30000])
decode_rate = decode / (time.perf_counter() - start)
print(f"{load:.3f} {first:.3f} {prefill_rate:.2f} {decode_rate:.2f} {memory:.0f}")
