"""Makes the files that compare.py measures: random weights of 1B and 0.5B Llama shapes.

Needs: pip install numpy gguf==0.19.0 llama-cpp-python==0.3.36
Run:   python benches/peers/make_synthetic.py DIRECTORY

Writes F16 files with the `gguf` package and quantises them with llama.cpp itself, so that every
engine reads what llama.cpp wrote. K-quants are made of the 1B shape alone: its widths are multiples
of 256, those of the other are not.
"""

import ctypes
import sys
from pathlib import Path

import gguf
import llama_cpp
import numpy as np

SHAPES = {
    # layers, hidden, feed-forward, heads, key-value heads, vocabulary
    "1b": (16, 2048, 8192, 32, 8, 128256, ["Q4_K_M", "Q8_0", "Q4_0"]),
    "05b": (24, 896, 4864, 14, 2, 32000, ["Q8_0", "Q4_0"]),
}


def f16(path, layers, hidden, ffn, heads, kv_heads, vocab):
    out = gguf.GGUFWriter(path, "llama")
    size = hidden // heads
    out.add_context_length(8192)
    out.add_embedding_length(hidden)
    out.add_block_count(layers)
    out.add_feed_forward_length(ffn)
    out.add_head_count(heads)
    out.add_head_count_kv(kv_heads)
    out.add_layer_norm_rms_eps(1e-5)
    out.add_rope_freq_base(500000.0)
    out.add_rope_dimension_count(size)
    out.add_vocab_size(vocab)
    out.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    # A SentencePiece vocabulary: control tokens, bytes, made-up pieces.
    pieces = ["<unk>", "<s>", "</s>"] + [f"<0x{i:02X}>" for i in range(256)]
    kinds = [2, 3, 3] + [6] * 256 + [1] * (vocab - 259)
    pieces += [f"\u2581t{i}" for i in range(vocab - 259)]
    out.add_tokenizer_model("llama")
    out.add_token_list([p.encode() for p in pieces])
    out.add_token_scores([0.0] * 259 + [-float(i) for i in range(vocab - 259)])
    out.add_token_types(kinds)
    out.add_bos_token_id(1)
    out.add_eos_token_id(2)
    out.add_unk_token_id(0)
    rng = np.random.default_rng(0)

    def weights(*shape):
        return (rng.standard_normal(shape, dtype=np.float32) * 0.02).astype(np.float16)

    out.add_tensor("token_embd.weight", weights(vocab, hidden))
    out.add_tensor("output_norm.weight", np.ones(hidden, np.float32))
    out.add_tensor("output.weight", weights(vocab, hidden))
    for layer in range(layers):
        for name, shape in [
            ("attn_q", (hidden, hidden)),
            ("attn_k", (kv_heads * size, hidden)),
            ("attn_v", (kv_heads * size, hidden)),
            ("attn_output", (hidden, hidden)),
            ("ffn_gate", (ffn, hidden)),
            ("ffn_up", (ffn, hidden)),
            ("ffn_down", (hidden, ffn)),
        ]:
            out.add_tensor(f"blk.{layer}.{name}.weight", weights(*shape))
        for name in ("attn_norm", "ffn_norm"):
            out.add_tensor(f"blk.{layer}.{name}.weight", np.ones(hidden, np.float32))
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def main():
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, (*shape, types) in SHAPES.items():
        source = folder / f"{name}-F16.gguf"
        if not source.exists():
            f16(source, *shape)
        for kind in types:
            target = folder / f"{name}-{kind}.gguf"
            if target.exists():
                continue
            options = llama_cpp.llama_model_quantize_default_params()
            options.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{kind}")
            if llama_cpp.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(options)):
                sys.exit(f"llama.cpp did not write {target}")
            print(target)


main()
