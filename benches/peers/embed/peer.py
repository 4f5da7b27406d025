"""Embeds texts with sentence-transformers or onnxruntime, one pass for each line on standard input.

Usage: peer.py ENGINE MODEL_DIR THREADS TEXTS.json
ENGINE: `st` (sentence-transformers, torch, f32), `ort` (onnxruntime, f32), `ort-int8` (onnxruntime,
weights of `quantize_dynamic`). TEXTS.json: `{"set": ["text", ...], ...}`.

A line `SET` embeds that set, whole texts in, normalised vectors out, and answers
`{"seconds": s, "texts": n, "tokens": n}`; a line `save SET FILE` writes the vectors as .npy.
Threads are set before anything is imported; tokenizers is bound to as many.
"""

import json
import os
import sys
import time
from pathlib import Path

engine, folder, threads, texts = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), json.load(open(sys.argv[4]))
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ[name] = str(threads)
os.environ["TOKENIZERS_PARALLELISM"] = "true" if threads > 1 else "false"

import numpy as np  # noqa: E402

BATCH = 32
LIMIT = json.loads((folder / "sentence_bert_config.json").read_text())["max_seq_length"]


def sentence_transformers():
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(threads)
    model = SentenceTransformer(str(folder), device="cpu")
    model.eval()
    # `encode` sorts by length and pads each batch to its longest text.
    encode = lambda items: model.encode(items, batch_size=BATCH, normalize_embeddings=True, show_progress_bar=False)
    return encode, lambda items: sum(len(ids) for ids in model.tokenizer(items, truncation=True, max_length=LIMIT)["input_ids"])


def export(path):
    import torch
    from transformers import AutoModel

    model = AutoModel.from_pretrained(str(folder), attn_implementation="eager").eval()

    class Hidden(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, input_ids, attention_mask, token_type_ids):
            return self.model(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids).last_hidden_state

    names = ["input_ids", "attention_mask", "token_type_ids"]
    example = tuple(torch.ones(2, 16, dtype=torch.long) for _ in names)
    axes = {name: {0: "batch", 1: "seq"} for name in [*names, "last_hidden_state"]}
    torch.onnx.export(
        Hidden().eval(), example, str(path), input_names=names, output_names=["last_hidden_state"],
        dynamic_axes=axes, opset_version=17, dynamo=False,
    )


def onnxruntime(int8):
    import onnxruntime as ort
    from tokenizers import Tokenizer

    cache = Path(os.environ.get("PEER_ONNX", folder))
    plain, fused, quantised = (cache / f"minilm-{kind}.onnx" for kind in ("export", "fused", "int8"))
    if not plain.exists():
        export(plain)
    if not fused.exists():
        from onnxruntime.transformers import optimizer

        heads = json.loads((folder / "config.json").read_text())
        done = optimizer.optimize_model(str(plain), model_type="bert", num_heads=heads["num_attention_heads"], hidden_size=heads["hidden_size"])
        done.save_model_to_file(str(fused))
    if int8 and not quantised.exists():
        import onnx
        from onnxruntime.quantization import QuantType, quantize_dynamic

        default = {"DefaultTensorType": onnx.TensorProto.FLOAT}
        quantize_dynamic(str(fused), str(quantised), weight_type=QuantType.QInt8, per_channel=True, extra_options=default)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = ort.InferenceSession(str(quantised if int8 else fused), options, providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(LIMIT)
    tokenizer.no_padding()

    def encode(items):
        encoded = tokenizer.encode_batch(items)
        order = sorted(range(len(items)), key=lambda i: len(encoded[i].ids))
        out = np.empty((len(items), 384), np.float32)
        for first in range(0, len(order), BATCH):
            batch = order[first : first + BATCH]
            longest = len(encoded[batch[-1]].ids)
            ids = np.zeros((len(batch), longest), np.int64)
            mask = np.zeros_like(ids)
            for row, i in enumerate(batch):
                ids[row, : len(encoded[i].ids)] = encoded[i].ids
                mask[row, : len(encoded[i].ids)] = 1
            hidden = session.run(None, {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)})[0]
            mean = np.einsum("bsh,bs->bh", hidden, mask.astype(np.float32)) / mask.sum(1, keepdims=True)
            out[batch] = mean / np.linalg.norm(mean, axis=1, keepdims=True)
        return out

    return encode, lambda items: sum(len(e.ids) for e in tokenizer.encode_batch(items))


encode, count = sentence_transformers() if engine == "st" else onnxruntime(engine == "ort-int8")
tokens = {name: count(items) for name, items in texts.items()}
for items in texts.values():
    encode(items[:64])
print("ready", flush=True)
for line in sys.stdin:
    command = line.split()
    if command[0] == "save":
        np.save(command[2], encode(texts[command[1]]))
        print("saved", flush=True)
        continue
    items = texts[command[0]]
    start = time.perf_counter()
    encode(items)
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "texts": len(items), "tokens": tokens[command[0]]}), flush=True)
