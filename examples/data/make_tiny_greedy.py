"""Golden greedy continuations of ropewalk-tiny, from transformers and llama.cpp.

pip install torch==2.15.* transformers==5.23.* jinja2, and llama-cpp-python==0.3.36 built from source; then, after training:
    python make_tiny_greedy.py transformers OUT/hf tiny_greedy.json
    python make_tiny_greedy.py llama OUT/ropewalk-tiny-f32.gguf tiny_greedy.json
    python make_tiny_greedy.py llama OUT/ropewalk-tiny.gguf tiny_greedy.json
The first call writes prompts, their ids and the greedy ids of the f32 directory; the others compare and add the ids of
llama.cpp for the f32 and the Q8_0 file. `smallest_margin` is the least gap between the two best logits on the way.
"""
import json
import sys
from pathlib import Path

NEW = 64
DESK = {"role": "system", "content": "You are the assistant of Larkspur Air. Give short, polite answers. If you do not know the answer, say so."}
HELP = {"role": "system", "content": "You are a helpful assistant."}
TOOL = {"type": "function", "function": {
    "name": "get_ticket_price", "description": "Get the price of a return ticket to the destination city.",
    "parameters": {"type": "object", "properties": {"destination_city": {"type": "string", "description": "The city"}}, "required": ["destination_city"]}}}


def user(text):
    return {"role": "user", "content": text}


def call(*cities):
    calls = [{"type": "function", "function": {"name": "get_ticket_price", "arguments": {"destination_city": c}}} for c in cities]
    return {"role": "assistant", "content": "", "tool_calls": calls}


def result(text):
    return {"role": "tool", "content": text}


CASES = [
    ([user("Hello!")], None),
    ([DESK, user("How much is a ticket to Paris?")], [TOOL]),
    ([DESK, user("How much is a ticket to Paris?"), call("Paris"), result('{"city":"Paris","price":"$899"}')], [TOOL]),
    ([DESK, user("What are the fares to London and Berlin?")], [TOOL]),
    ([DESK, user("What are the fares to London and Berlin?"), call("London", "Berlin"),
      result('{"city": "London", "price": "$799"}'), result('{"city": "Berlin", "price": "$499"}')], [TOOL]),
    ([user("What is GGUF?")], None),
    ([user("Who painted the Mona Lisa?")], None),
    ([user("How do I train you?")], [TOOL]),
    ([HELP, user("How much is a ticket to Reykjavik?")], None),
    ([user("What does ropewalk-gguf do?")], None),
    ([user("Can I bring my dog?")], [TOOL]),
    ([HELP, user("What is a KV cache?"), {"role": "assistant", "content": "The KV cache keeps the keys and values of earlier tokens, so that they are not computed again."}, user("Thanks!")], None),
]


def from_transformers(directory, out):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tok = AutoTokenizer.from_pretrained(directory)
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    cases = []
    for messages, tools in CASES:
        text = tok.apply_chat_template(messages, tools=tools, add_generation_prompt=True, tokenize=False)
        ids = tok(text, add_special_tokens=False).input_ids
        with torch.no_grad():
            got = model.generate(torch.tensor([ids]), max_new_tokens=NEW, do_sample=False)[0, len(ids) :].tolist()
            top = model(torch.tensor([ids + got])).logits[0, len(ids) - 1 : -1].topk(2, -1).values
        margin = (top[:, 0] - top[:, 1]).min().item()
        cases.append({"messages": messages, "tools": tools, "prompt": text, "prompt_ids": ids, "greedy_ids": got,
                      "text": tok.decode(got), "smallest_margin": round(margin, 4)})
        print(repr(cases[-1]["text"]), cases[-1]["smallest_margin"])
    out.write_text(json.dumps({"model": "ropewalk-tiny", "cases": cases}, ensure_ascii=False, indent=1) + "\n")


def from_llama(gguf, out):
    from llama_cpp import Llama

    model = Llama(str(gguf), n_ctx=1024, n_threads=2, verbose=False)
    data = json.loads(out.read_text())
    same = 0
    for c in data["cases"]:
        ids = model.tokenize(c["prompt"].encode(), add_bos=False, special=True)
        assert ids == c["prompt_ids"], c["prompt"]
        model.reset()
        got = []
        for t in model.generate(ids, temp=0.0, top_k=1, repeat_penalty=1.0):
            got.append(t)
            if t == model.token_eos() or len(got) == NEW:
                break
        c["llama_cpp_" + ("f32" if "f32" in gguf.name else "q8_0")] = got
        same += got == c["greedy_ids"]
    out.write_text(json.dumps(data, ensure_ascii=False, indent=1) + "\n")
    print(gguf.name, same, "of", len(data["cases"]), "equal")


if __name__ == "__main__":
    kind, source, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    (from_transformers if kind == "transformers" else from_llama)(source, out)
