"""Prints `load prefill decode` of llama.cpp: seconds, tokens/s, tokens/s.

Usage: peer_llama_cpp.py FILE.gguf PREFILL DECODE THREADS
"""

import sys
import time

import llama_cpp

path, prefill, decode, threads = sys.argv[1], *map(int, sys.argv[2:5])
start = time.perf_counter()
model = llama_cpp.Llama(
    path, n_ctx=prefill + decode + 8, n_batch=512, n_threads=threads, n_threads_batch=threads, verbose=False
)
load = time.perf_counter() - start
# One short pass first, so that pages and buffers are there.
model.eval([1, 2, 3, 4])
model.reset()
start = time.perf_counter()
model.eval([i * 7919 % 30000 for i in range(prefill)])
prefill_rate = prefill / (time.perf_counter() - start)
start = time.perf_counter()
for i in range(decode):
    model.eval([i * 31 % 30000])
print(f"{load:.3f} {prefill_rate:.2f} {decode / (time.perf_counter() - start):.2f}")
