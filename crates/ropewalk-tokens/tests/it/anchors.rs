//! Ids and pieces that courses print for real models.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ropewalk_tokens::{PreTokenizer, Tokenizer};

use crate::support::{data, real};

const TEXT: &str = "I am excited to show Tokenizers in action to my LLM engineers";

fn pieces(tokenizer: &Tokenizer, ids: &[u32]) -> Vec<String> {
    tokenizer.batch_decode(ids, false).unwrap()
}

#[test]
fn llama3() {
    let Some(llama) = real("llama-bpe") else {
        return;
    };
    let ids = llama.encode(TEXT, true).unwrap();
    assert_eq!(
        ids,
        [
            128000, 40, 1097, 12304, 311, 1501, 9857, 12509, 304, 1957, 311, 856, 445, 11237, 25175
        ]
    );
    assert_eq!(
        pieces(&llama, &ids),
        [
            "<|begin_of_text|>",
            "I",
            " am",
            " excited",
            " to",
            " show",
            " Token",
            "izers",
            " in",
            " action",
            " to",
            " my",
            " L",
            "LM",
            " engineers",
        ]
    );
    assert_eq!(
        llama.decode(&ids, false).unwrap(),
        format!("<|begin_of_text|>{TEXT}")
    );
    assert_eq!(llama.decode(&ids, true).unwrap(), TEXT);
    assert_eq!(
        llama
            .encode("learning a little bit about llms", true)
            .unwrap(),
        [128000, 21656, 264, 2697, 2766, 922, 9507, 1026]
    );
    for number in 0..1000 {
        assert_eq!(llama.count(&number.to_string()), 1);
    }
    let number = |text| llama.encode(text, false).unwrap();
    assert_eq!(number("0"), [15]);
    assert_eq!(number("1"), [16]);
    assert_eq!(number("10"), [605]);
    assert_eq!(number("100"), [1041]);
    assert_eq!(number("999"), [5500]);
    assert_eq!(number("1000"), [1041, 15]);
    assert_eq!(
        number(" the manufacturer from\n\nPrice is $765.00"),
        [279, 14290, 505, 271, 7117, 374, 400, 22240, 13, 410]
    );
    assert_eq!(number("Price is $"), [7117, 374, 400]);
}

#[test]
fn llama3_added_vocabulary() {
    let Some(llama) = real("llama-bpe") else {
        return;
    };
    let added = llama.added_vocab();
    let expected = [
        ("<|begin_of_text|>", 128000),
        ("<|end_of_text|>", 128001),
        ("<|start_header_id|>", 128006),
        ("<|end_header_id|>", 128007),
        ("<|eot_id|>", 128009),
    ];
    for (name, id) in expected {
        assert_eq!(added[name], id);
        assert_eq!(llama.token_to_id(name), Some(id));
    }
    assert_eq!(added.len(), 256);
    assert_eq!((llama.bos(), llama.eos()), (Some(128000), Some(128001)));
    assert!(llama.end_ids().contains(&128009) && llama.end_ids().contains(&128001));
    assert!(llama.adds_bos());
}

#[test]
fn phi3() {
    let Some(phi) = real("phi-3") else { return };
    let ids = phi.encode(TEXT, false).unwrap();
    assert_eq!(
        ids,
        [
            306, 626, 24173, 304, 1510, 25159, 19427, 297, 3158, 304, 590, 365, 26369, 6012, 414
        ]
    );
    assert_eq!(
        pieces(&phi, &ids),
        [
            "I", "am", "excited", "to", "show", "Token", "izers", "in", "action", "to", "my", "L",
            "LM", "engine", "ers",
        ]
    );
    for (number, expected) in [
        ("0", &[29871, 29900][..]),
        ("1", &[29871, 29896]),
        ("10", &[29871, 29896, 29900]),
        ("100", &[29871, 29896, 29900, 29900]),
        ("999", &[29871, 29929, 29929, 29929]),
        ("1000", &[29871, 29896, 29900, 29900, 29900]),
    ] {
        assert_eq!(phi.encode(number, false).unwrap(), expected);
    }
    let added = phi.added_vocab();
    for (name, id) in [
        ("<|endoftext|>", 32000),
        ("<|assistant|>", 32001),
        ("<|system|>", 32006),
        ("<|end|>", 32007),
        ("<|user|>", 32010),
    ] {
        assert_eq!(added[name], id);
    }
    assert!(phi.end_ids().contains(&32007) && phi.end_ids().contains(&32000));
    assert!(
        phi.chat_template()
            .is_some_and(|template| template.contains("<|assistant|>"))
    );
}

#[test]
fn qwen2() {
    let Some(qwen) = real("qwen2") else { return };
    assert_eq!(
        qwen.encode(TEXT, true).unwrap(),
        [
            40, 1079, 12035, 311, 1473, 9660, 12230, 304, 1917, 311, 847, 444, 10994, 24198
        ]
    );
    assert_eq!(qwen.encode("999", false).unwrap(), [24, 24, 24]);
    let ids = qwen
        .encode("<|im_start|>user\nHi<|im_end|>", false)
        .unwrap();
    assert_eq!((ids[0], ids[4]), (151644, 151645));
    assert!(qwen.end_ids().contains(&151645) && qwen.end_ids().contains(&151643));
}

#[test]
fn starcoder2() {
    let Some(star) = real("starcoder") else {
        return;
    };
    let ids = star
        .encode(
            "\ndef hello_world(person):\n  print(\"Hello\", person)\n",
            false,
        )
        .unwrap();
    assert_eq!(
        ids,
        [
            222, 610, 17966, 100, 5879, 45, 6427, 731, 353, 1489, 459, 8302, 411, 4944, 46, 222
        ]
    );
    assert_eq!(
        pieces(&star, &ids),
        [
            "\n", "def", " hello", "_", "world", "(", "person", "):", "\n ", " print", "(\"",
            "Hello", "\",", " person", ")", "\n",
        ]
    );
}

/// The encoding that `tiktoken-rs` carries, through our reader of rank files.
fn tiktoken(theirs: &tiktoken_rs::CoreBPE, ranks: u32, pre: PreTokenizer) -> Tokenizer {
    let mut file = String::new();
    for rank in 0..ranks {
        let bytes = theirs.decode_bytes(&[rank]).unwrap();
        file += &format!("{} {rank}\n", BASE64_STANDARD.encode(bytes));
    }
    Tokenizer::from_tiktoken(file.as_bytes(), pre, &[("<|endoftext|>", ranks + 1)]).unwrap()
}

#[test]
fn tiktoken_encodings() {
    let theirs = tiktoken_rs::o200k_base_singleton();
    let ours = tiktoken(theirs, 199_998, PreTokenizer::Gpt4o);
    let text = "Hi my name is Ed and I like banoffee pie";
    let ids = ours.encode(text, false).unwrap();
    assert_eq!(
        ids,
        [
            12194, 922, 1308, 382, 6117, 326, 357, 1299, 9171, 26458, 5148
        ]
    );
    assert_eq!(ours.decode(&[326], false).unwrap(), " and");
    for number in 0..1000 {
        assert_eq!(ours.count(&number.to_string()), 1);
    }
    assert_eq!(ours.encode("<|endoftext|>", false).unwrap(), [199_999]);

    let cl100k = tiktoken(
        tiktoken_rs::cl100k_base_singleton(),
        100_256,
        PreTokenizer::Llama3,
    );
    let mixed = "HTTPServer's 12345 naïve ｆｕｌｌ 東京 🦙\u{200d}\n\n\t x  = 'LL  don't";
    let same = |ours: &Tokenizer, theirs: &tiktoken_rs::CoreBPE, text: &str| {
        assert_eq!(
            ours.encode(text, false).unwrap(),
            theirs.encode_ordinary(text)
        );
    };
    same(&ours, theirs, mixed);
    same(&cl100k, tiktoken_rs::cl100k_base_singleton(), mixed);

    // Counts over a whole play and a knowledge base.
    let Some(hamlet) = data("hamlet.txt") else {
        return;
    };
    let hamlet = std::fs::read_to_string(hamlet).unwrap();
    assert_eq!(cl100k.count(&hamlet), 50_453);
    assert_eq!(ours.count(&hamlet), 49_650);
    same(&ours, theirs, &hamlet);
    let mut files = BTreeMap::new();
    let mut folders = vec![data("knowledge-base").unwrap()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                files.insert(path.clone(), std::fs::read_to_string(path).unwrap());
            }
        }
    }
    let texts: Vec<&str> = files.values().map(String::as_str).collect();
    assert_eq!(texts.len(), 76);
    assert_eq!(ours.count(&texts.join("\n\n")), 63_555);
}
