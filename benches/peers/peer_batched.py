"""Prints `sequences prefill decode` of llama.cpp, tokens/s of all sequences together, one line each.

All sequences run in one batch of the low-level API, as in llama.cpp's own `llama-batched-bench`:
prompts in batches of up to 512 tokens, then one token of each sequence per call.

Usage: peer_batched.py FILE.gguf SEQUENCES[,SEQUENCES] DECODE THREADS
"""

import sys
import time

import llama_cpp

path, counts, decode, threads = sys.argv[1], [int(n) for n in sys.argv[2].split(",")], *map(int, sys.argv[3:5])
SHORTEST, LONGEST, BATCH = 64, 128, 512

quiet = llama_cpp.llama_log_callback(lambda *_: None)  # held, since the library calls it later
llama_cpp.llama_log_set(quiet, None)
llama_cpp.llama_backend_init()
model = llama_cpp.llama_model_load_from_file(path.encode(), llama_cpp.llama_model_default_params())
assert model, f"{path} cannot be loaded"
vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))


def context(sequences):
    params = llama_cpp.llama_context_default_params()
    params.n_ctx = sequences * 256
    params.n_batch = params.n_ubatch = BATCH
    params.n_seq_max = sequences
    params.n_threads = params.n_threads_batch = threads
    made = llama_cpp.llama_init_from_model(model, params)
    assert made, "no context"
    return made


def run(ctx, sequences, decode):
    batch = llama_cpp.llama_batch_init(BATCH, 0, 1)

    def add(token, position, sequence, logits):
        i = batch.n_tokens
        batch.token[i], batch.pos[i] = token, position
        batch.n_seq_id[i], batch.seq_id[i][0] = 1, sequence
        batch.logits[i] = logits
        batch.n_tokens += 1

    def go():
        assert llama_cpp.llama_decode(ctx, batch) == 0
        llama_cpp.llama_synchronize(ctx)
        batch.n_tokens = 0

    batch.n_tokens = 0
    lengths = [SHORTEST + (LONGEST - SHORTEST) * i // sequences for i in range(1, sequences + 1)]
    start = time.perf_counter()
    for sequence, length in enumerate(lengths):
        for i in range(length):
            add(i * 7919 % vocab, i, sequence, i + 1 == length)
            if batch.n_tokens == BATCH:
                go()
    if batch.n_tokens:
        go()
    prefill = sum(lengths) / (time.perf_counter() - start)
    start = time.perf_counter()
    for i in range(decode):
        for sequence, length in enumerate(lengths):
            add(i * 31 % vocab, length + i, sequence, True)
        go()
    rate = sequences * decode / (time.perf_counter() - start)
    llama_cpp.llama_batch_free(batch)
    return prefill, rate


for sequences in counts:
    ctx = context(sequences)
    run(ctx, 1, 4)
    llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(ctx), True)
    prefill, rate = run(ctx, sequences, decode)
    llama_cpp.llama_free(ctx)
    print(f"{sequences} {prefill:.2f} {rate:.2f}")
