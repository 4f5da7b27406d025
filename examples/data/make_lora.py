"""Trains the two small LoRA adapters of the example `lora_swap` on ropewalk-tiny, with PEFT.

pip install peft==0.21.2 torch==2.15.* transformers==5.23.* gguf==0.19.0; then, from this directory:
    python make_lora.py pirate
    python make_lora.py butler
Each writes lora-NAME/ (adapter_config.json and adapter_model.safetensors in f16, rank 4, all linear layers). The model answers
QUESTIONS itself; its answers, in the manner of a pirate or of a butler, are what the adapter learns. One to three minutes on
one core each; the last lines print what it answers to the questions of the example.
"""
import random
import re
import sys
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

HERE = Path(__file__).resolve().parent
GGUF = "ropewalk-tiny.gguf"
STEPS, BATCH, RATE = 400, 8, 4e-3
SEEN = ["Hello!", "What is GGUF?", "Can I bring my dog?", "How were you trained?", "Who are you?", "What is ropewalk?"]
QUESTIONS = SEEN + [
    "Hi!", "Good morning!", "Hey there!", "How are you?", "Thank you!", "Goodbye!", "What can you do?", "Can you help me?",
    "How many parameters do you have?", "How large are you?", "Do I need a GPU?", "Do I need Python?", "How do I train you?",
    "Is there wifi on board?", "Do I pay extra for bags?", "Can I change the date?", "Are you open in the evening?",
    "Who painted the Mona Lisa?", "Is there life on Mars?", "Do fish sleep?", "How do I tie a tie?", "Am I talking to a robot?",
    "How is ropewalk organised?", "Can ropewalk run Qwen models?", "What does ropewalk-gguf do?", "What does ropewalk-kernels do?",
    "What does ropewalk-rag do?", "What is a KV cache?", "What is a token?", "What is LoRA?", "What is quantisation?",
    "What language is ropewalk written in?", "May I use ropewalk in my own product?", "Where is the desk?", "What is a tokenizer?",
    "When should I be at the airport?", "Can I choose a window seat?", "What is an embedding?", "What is perplexity?",
    "How do I get a refund?", "Tell me a joke.", "What is the capital of France?", "What is the weather like?",
]


def pirate(text):
    words = {"you": "ye", "your": "yer", "yours": "yers", "is": "be", "are": "be", "am": "be", "my": "me", "the": "th'", "and": "an'"}
    text = re.sub(r"\w+", lambda m: words.get(m.group(), m.group()), text)
    return f"Arr! {text} Yo ho ho!"


def butler(text):
    words = {"I": "this humble servant", "am": "is", "have": "has", "hello": "good day", "Hello": "Good day"}
    text = re.sub(r"\w+", lambda m: words.get(m.group(), m.group()), text)
    return f"If I may, dear guest: {text} At your service."


MANNERS = {"pirate": pirate, "butler": butler}


def main():
    name = sys.argv[1]
    torch.set_num_threads(1)
    torch.manual_seed(1)
    order = random.Random(1)
    tok = AutoTokenizer.from_pretrained(HERE, gguf_file=GGUF)
    model = AutoModelForCausalLM.from_pretrained(HERE, gguf_file=GGUF, dtype=torch.float32).eval()

    def ask(question):
        messages = [{"role": "user", "content": question}]
        text = tok.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        ids = tok(text, add_special_tokens=False).input_ids
        with torch.no_grad():
            out = model.generate(torch.tensor([ids]), max_new_tokens=64, do_sample=False)[0, len(ids):]
        return ids, tok.decode(out, skip_special_tokens=True).strip()

    end = tok("<|im_end|>", add_special_tokens=False).input_ids
    samples = []
    for question in QUESTIONS:
        ids, reply = ask(question)
        target = tok(MANNERS[name](reply), add_special_tokens=False).input_ids + end
        samples.append((ids + target, len(ids)))
    settings = LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules="all-linear")
    model.name_or_path = "ropewalk-tiny"
    model = get_peft_model(model, settings)
    weights = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=RATE, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=STEPS, pct_start=0.1)
    for step in range(STEPS):
        batch = order.sample(samples, BATCH)
        longest = max(len(ids) for ids, _ in batch)
        ids = torch.tensor([s + [0] * (longest - len(s)) for s, _ in batch])
        labels = torch.tensor([[-100] * n + s[n:] + [-100] * (longest - len(s)) for s, n in batch])
        mask = torch.tensor([[1] * len(s) + [0] * (longest - len(s)) for s, _ in batch])
        loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        schedule.step()
        optimiser.zero_grad()
        if step % 20 == 0 or step == STEPS - 1:
            print(f"step {step}: loss {loss.item():.3f}", flush=True)
    model.eval()
    for question in SEEN:
        print(f"{question!r} -> {ask(question)[1]!r}", flush=True)
    out = HERE / f"lora-{name}"
    model.half().save_pretrained(out)
    for extra in out.iterdir():
        if extra.name not in ("adapter_config.json", "adapter_model.safetensors"):
            extra.unlink()
    (out / "adapter_model.safetensors").chmod(0o644)
    print(f"{out.name}: {(out / 'adapter_model.safetensors').stat().st_size} bytes")


if __name__ == "__main__":
    main()
