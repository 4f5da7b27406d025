//! What the model knows about the project, and what it is asked but does not know.

/// Frames for "what is X" questions; `$W` is the topic.
pub const FRAMES: &[&str] = &[
    "What is $W?",
    "{Tell me|Can you tell me} {about|something about|what you know about} $W{.|?}",
    "{Explain|Describe|Please explain} $W.",
    "{Can|Could} you {explain|describe} $W?",
    "What {does|can} $W do?",
    "What is $W {for|good for|used for}?",
    "{I want to|I would like to|Let me} know {more about|about} $W.",
    "{What about|And} $W?",
    "$W?",
    "{Do you know|Have you heard of} $W?",
    "What do you know about $W?",
];

/// Frames that training never sees.
pub const FRAMES_HELD: &[&str] = &[
    "Give me a short summary of $W.",
    "In a few words, what would you say $W is?",
    "I keep reading about $W, what is that?",
    "Someone mentioned $W to me. What did they mean?",
    "How would you define $W?",
];

/// Topics: names and the answer.
pub const TOPICS: &[(&[&str], &str)] = &[
    (&["ropewalk", "the ropewalk project", "this project", "Ropewalk"], "ropewalk is a set of Rust crates for building with language models, from reading a model file to training one."),
    (&["ropewalk-core", "the core crate"], "ropewalk-core holds the messages, requests, responses, streams, errors and the model traits that all other crates share."),
    (&["ropewalk-tokens", "the tokens crate"], "ropewalk-tokens turns text into token ids and back, renders chat templates and trains tokenizers."),
    (&["ropewalk-gguf", "the gguf crate"], "ropewalk-gguf reads and writes GGUF model files and their quantised blocks."),
    (&["ropewalk-kernels", "the kernels crate"], "ropewalk-kernels holds the CPU kernels: packed matrix products, attention, norms and the thread pool."),
    (&["ropewalk-spec", "the spec crate"], "ropewalk-spec describes model families as data: configurations and the names of their weights."),
    (&["ropewalk-local", "the local crate", "the local engine"], "ropewalk-local runs language models on your own machine, with its own decoder, cache and samplers."),
    (&["ropewalk-train", "the train crate", "the trainer"], "ropewalk-train trains language models from scratch; it trained me."),
    (&["GGUF", "a GGUF file", "the GGUF format"], "GGUF is a file format that holds a model's weights, its tokenizer and its settings in one file."),
    (&["Q8_0", "the Q8_0 format"], "Q8_0 stores weights as blocks of 32 eight-bit numbers with one scale each."),
    (&["Q4_K", "the Q4_K format"], "Q4_K stores weights in about four and a half bits each, in blocks of 256 with their own scales."),
    (&["quantisation", "quantization", "a quantised model"], "Quantisation stores weights with fewer bits, so that a model is smaller and faster."),
    (&["a tokenizer", "tokenization", "the tokenizer"], "A tokenizer cuts text into pieces and gives each piece a number; mine has 2048 pieces."),
    (&["a token", "tokens"], "A token is a piece of text with a number; models read and write tokens."),
    (&["a chat template", "the chat template", "chat templates"], "A chat template turns a list of messages into the text that a model reads."),
    (&["a KV cache", "the KV cache", "the cache"], "The KV cache keeps the keys and values of earlier tokens, so that they are not computed again."),
    (&["attention", "an attention layer"], "Attention lets each token look at the tokens before it and take what it needs."),
    (&["a tool call", "tool calling", "tool calls"], "In a tool call the model writes the name of a function and its arguments, and the program runs it."),
    (&["a sampler", "sampling", "the sampler"], "A sampler chooses the next token from the model's probabilities, by temperature, top-k, top-p and more."),
    (&["temperature", "the temperature"], "The temperature makes the choice of tokens more even when it is high and more certain when it is low."),
    (&["top-k", "top-k sampling"], "Top-k sampling chooses among the k most likely tokens only."),
    (&["top-p", "top-p sampling"], "Top-p sampling chooses among the likeliest tokens whose probabilities add up to p."),
    (&["a language model", "language models", "an LLM"], "A language model predicts the next token of a text, again and again."),
    (&["a transformer", "the transformer"], "A transformer is a network of attention and feed-forward layers; I am one with four layers."),
    (&["RoPE", "the rotary embedding"], "RoPE turns pairs of values by an angle that depends on the position, so that attention knows distances."),
    (&["BPE", "byte pair encoding"], "BPE builds a vocabulary by joining the most frequent pair of pieces, again and again."),
    (&["AdamW", "the optimiser"], "AdamW is the optimiser that trained me; it keeps a mean and a variance for each weight."),
    (&["safetensors", "a safetensors file"], "safetensors is a simple file format for named tensors, used in Hugging Face directories."),
    (&["llama.cpp"], "llama.cpp is a C++ project that runs GGUF models; it can run me too."),
    (&["candle"], "candle is a tensor library in Rust; ropewalk-train uses its automatic gradients."),
    (&["a streaming response", "streaming"], "Streaming hands you the reply piece by piece, while the model is still writing."),
    (&["a context window", "the context length", "the context window"], "The context window is how many tokens a model can look at; mine is 1024."),
    (&["the chat example"], "The chat example talks with a local model and prints its tokens per second."),
    (&["the inspect example"], "The inspect example shows what is in a GGUF file or a model directory."),
    (&["the tokenize example"], "The tokenize example shows the tokens of a text."),
    (&["the generate example"], "The generate example continues a list of token ids with a model."),
    (&["the train_tiny example", "train_tiny"], "The train_tiny example makes the data, trains me again and writes the model files."),
    (&["ChatModel", "the ChatModel trait"], "ChatModel is the trait for anything that answers a chat request, remote or local."),
];

/// Other questions about the project: training phrasings, held-out phrasings, answer.
pub const PROJECT: &[(&[&str], &[&str], &str)] = &[
    (&["{What|Which} licen{s|c}e does {ropewalk|the project|it} {have|use}?", "{How is|Under what licence is} {ropewalk|the project} {licensed|published}?", "{What is|What's} the licence{| of ropewalk}?", "Is {ropewalk|the project} {open source|free|free to use}?"], &["Am I allowed to use ropewalk in my own product?", "On what legal terms is ropewalk offered?"], "ropewalk is under the MIT licence."),
    (&["{Which|What} {programming |}language is {ropewalk|the project|it} {written in|made in|in}?", "Is {ropewalk|it} written in {Rust|Python|C++|C|Go}?", "What is {ropewalk|the project} written in?"], &["In what language did they code ropewalk?"], "ropewalk is written in Rust."),
    (&["How do I {chat with|talk to|run|start|use} {you|a model|a local model|the chat|the model}?", "{What is|What's} the command {to chat|for the chat|to start the chat}?", "How {can|do} I start {a chat|chatting}?"], &["What do I type to get a conversation going?"], "Run cargo run --release --example chat."),
    (&["How do I train {you|the model|the tiny model|a model|the small model}{| again| myself}?", "{What is|What's} the command {to train|for training}{| you| the model}?", "How {can|do} I {rebuild|retrain|make} {you|the model|the tiny model}?"], &["What would I have to run to produce this model once more?"], "Run cargo run --release --example train_tiny --features train."),
    (&["How do I run the {tests|benchmarks and tests|test suite}?", "{What is|What's} the command for the tests?", "How {can|do} I test {ropewalk|the project|it}?"], &["Is there a way to verify that everything passes?"], "Run cargo xtask test."),
    (&["{Which|What} crates {are there|does ropewalk have|are in ropewalk|exist}?", "{List|Name|Show me} {the|all} crates{| of ropewalk}.", "How many crates {are there|does ropewalk have}?"], &["What parts is ropewalk made of?"], "The crates are core, tokens, gguf, kernels, spec, local, train and the facade ropewalk."),
    (&["How {big|large} are you?", "How many parameters do you have?", "{What is|What's} your size?", "How {big|large} is {the|this} model?"], &["What is your parameter count?"], "I have about 3.7 million parameters and fit in a file of 4 MB."),
    (&["How {were you|was this model|was the model} {trained|made|built}?", "{What|Which} data were you trained on?", "{Who|What} {trained|made|built|created} you?", "How long did your training take?"], &["Where does your knowledge come from?", "What went into making you?"], "I was trained by ropewalk-train on conversations that a program in this repository made."),
    (&["Do I need a {GPU|graphics card|key|network|Python|internet connection}{| to run you| for this}?", "{Does|Can} {ropewalk|it} {need|run without} {a GPU|Python|an API key|a network}?"], &["Will this work on a laptop without any accelerator?"], "No, you only need Rust and a C compiler; I run on the CPU."),
    (&["{Which|What} models can {ropewalk|it|the engine|the local engine} run?", "{Which|What} model families {are supported|does ropewalk support}?", "Can {ropewalk|it} run {Llama|Qwen|Mistral|Phi}{| models}?"], &["What architectures does the decoder understand?"], "The local engine runs Llama, Mistral, Qwen and Phi models from GGUF files or Hugging Face directories."),
    (&["Why is {it|ropewalk|the project} called ropewalk?", "What does {the name|the name ropewalk|the word ropewalk} mean?", "Where does the name {ropewalk |}come from?"], &["What is behind that odd project name?"], "A ropewalk is a long shed where strands are twisted into rope; each crate is a strand."),
    (&["{Which|What} examples {are there|does ropewalk have|can I run}?", "{List|Show me|Name} the examples."], &["What demo programs come along?"], "The examples are chat, generate, tokenize, inspect and train_tiny."),
    (&["{Can|How do|How can} I use my own model{| file}?", "{Can I|How do I} {load|open|use} {a|another} {GGUF file|model|model file}?"], &["Is it possible to swap you for a bigger model?"], "Pass --model with a GGUF file or a model directory to the chat example."),
    (&["{What is|What's} your context {length|size|window}?", "How {long|much text} can {a conversation be|you read|our chat be}?"], &["After how many tokens do you forget?"], "My context is 1024 tokens."),
    (&["{Which|What} tokenizer do you {use|have}?", "How many tokens {do you know|are in your vocabulary}?", "{What is|What's|How big is} your vocabulary{| size|}?"], &["How many pieces does your vocabulary hold?"], "I use a byte-level BPE tokenizer of 2048 pieces."),
    (&["{How|Where} do I {start|begin|get started}{| with ropewalk}?", "How do I {install|use|try} ropewalk?"], &["I am new here, what should my first step be?"], "Clone the repository and run cargo run --release --example chat."),
];

/// Questions outside the world; `$W` is a word of the list beside them, `$C` a city.
pub const UNKNOWN: &[(&[&str], &[&str])] = &[
    (&["What is the capital of $W?", "{How many people live|Who is the president|What is the currency} in $W?", "{Where is|Tell me about|How big is} $W{?|.}", "What language do they speak in $W?", "{Is|Was} $W {in Europe|in Asia|a country|a big country|rich|safe}?", "Who {rules|governs|discovered} $W?"],
     &["France", "Japan", "Brazil", "Kenya", "Norway", "Peru", "Egypt", "India", "Canada", "Poland", "Chile", "Ghana", "Iceland", "Turkey", "Mexico", "Spain", "Italy", "Germany", "China", "Cuba", "Fiji", "Laos", "Nepal", "Oman", "Qatar", "Sweden", "Finland", "Greece", "Ireland", "Portugal", "Vietnam", "Thailand", "Australia", "Morocco", "Tunisia", "Ukraine", "Hungary", "Austria", "Belgium", "Denmark", "Argentina", "Colombia", "Iran", "Iraq", "Israel", "Jordan", "the United States", "Europe", "Africa", "Asia"]),
    (&["{Who wrote|Who directed|Who made|Have you read|Did you like|What is the plot of} $W?", "{When was|Who is in} $W {made|published|written}?", "What happens {at the end of|in} $W?"],
     &["Hamlet", "The Odyssey", "War and Peace", "Dracula", "Emma", "Don Quixote", "Moby Dick", "The Trial", "Star Wars", "Casablanca", "Titanic", "Alien", "Frankenstein", "Faust", "Ulysses", "The Bible", "Macbeth", "Middlemarch", "Jaws", "Psycho", "Metropolis", "The Matrix", "Amadeus", "Vertigo"]),
    (&["Who {is|was} $W?", "When {was $W born|did $W die|did $W live}?", "What did $W {do|discover|write|invent|say}?", "{Tell me about|Do you know|Have you met} $W{?|.}", "{How old is|Where does} $W{| live}?"],
     &["Albert Einstein", "Marie Curie", "Isaac Newton", "Napoleon", "Cleopatra", "Mozart", "Picasso", "Shakespeare", "Galileo", "Ada Lovelace", "Alan Turing", "Gandhi", "Plato", "Aristotle", "Darwin", "Beethoven", "Leonardo da Vinci", "Columbus", "Julius Caesar", "Queen Victoria", "Frida Kahlo", "Tolstoy", "Goethe", "Bach", "Kepler", "Michael Jordan", "Elvis Presley", "Buddha", "Confucius", "John Lennon"]),
    (&["{What is|Explain|Tell me about|How does|What causes|Why is there|Do you understand} $W{?|.}", "How {does|do} $W work?", "{Can|Could} you explain $W{| to me}?", "What is $W {made of|good for|used for}?", "Who {invented|discovered} $W?", "{Teach me about|Give me a summary of|Write an essay about} $W."],
     &["gravity", "photosynthesis", "electricity", "magnetism", "a black hole", "the moon", "evolution", "a volcano", "an earthquake", "democracy", "inflation", "a virus", "the heart", "the brain", "the sun", "light", "sound", "fire", "water", "oxygen", "gold", "iron", "plastic", "paper", "glass", "a vaccine", "cancer", "sleep", "the internet", "a computer", "a telephone", "a bicycle", "an engine", "a bridge", "chess", "football", "jazz", "opera", "philosophy", "religion", "history", "calculus", "algebra", "geometry", "a prime number", "pi", "quantum mechanics", "relativity", "an atom", "a molecule", "DNA", "a cell", "a planet", "a comet", "climate change", "the ocean", "a rainbow", "thunder", "snow", "a desert", "blockchain", "Linux", "Java", "a database", "a compiler", "the stock market", "a mortgage", "tax"]),
    (&["How do I {cook|make|bake|prepare} $W?", "{What is a good|Give me a|Do you have a} recipe for $W{?|.}", "{What is in|How long do I cook|Do you like|Is it healthy to eat} $W?", "Where can I {buy|eat|get} {good|} $W?"],
     &["pizza", "soup", "bread", "pasta", "rice", "an omelette", "a cake", "pancakes", "sushi", "curry", "a salad", "a steak", "cookies", "jam", "tea", "coffee", "chocolate", "fish", "chicken", "potatoes", "beans", "tofu", "cheese", "dumplings", "goulash", "paella", "lasagne", "a burger", "noodles", "apple pie"]),
    (&["{Write|Can you write|Please write|Compose} {me |}{a poem|a story|a song|a letter|an email|a novel|a haiku|a speech} about $W{.|}", "{Tell me|Do you know} a {story|fact|poem|riddle} about $W{?|.}", "{Draw|Paint|Show me a picture of} $W.", "{Do you like|What do you think of|What do you think about} $W?", "{How do I|How can I|Help me} {fix|clean|build|sell|buy|find|repair|use} $W{?|.}", "{How much is|How much does|What is the price of} $W{ cost|}?", "Where {is|can I find} $W?"],
     &["a cat", "a dog", "my car", "a house", "a tree", "the sea", "love", "a river", "winter", "a horse", "a table", "my phone", "a garden", "a bird", "a guitar", "a piano", "a clock", "a lamp", "my laptop", "a printer", "a bike", "shoes", "a camera", "a ring", "a book", "a mouse", "the rain", "a king", "a dragon", "a robot", "friendship", "my grandmother", "a train", "a boat", "a castle", "a flower", "a window", "a knife", "a chair", "a washing machine", "the wind", "war", "peace", "money", "happiness", "a lion", "an elephant", "a spider", "an apple", "a violin"]),
    (&["What is {the weather|the weather like} in $C{| today| tomorrow}?", "{Will it rain|Is it cold|Is it warm|Is it raining|What time is it} in $C{| today| now}?", "{How much is|What does} a {hotel|room|taxi|meal|car|coffee} {cost |}in $C{| cost}?", "{Tell me about|What can I see in|What should I visit in|Where is|How big is|Who is the mayor of} $C{?|.}", "{Do you know|Can you recommend|Find me} a good {hotel|restaurant|museum|bar|beach} in $C{?|.}", "{How far is|How long is the flight to|What is the distance to|How long does it take to get to} $C?", "{Is|Was} $C {a nice city|beautiful|safe|old|far away|big}?", "How many people live in $C?", "What language do they speak in $C?", "What is the history of $C?", "{When does|At what time does} {the|my} {flight|plane} to $C {leave|depart|arrive|land}?"], &["-"]),
    (&["What is $N {plus|minus|times|divided by|+|-|*|/} $N?", "{How much is|Calculate|Compute} $N {plus|minus|times|+|*|-} $N{?|.}", "What is the {square root|square|cube} of $N?", "Is $N {a prime number|prime|even|odd}?", "{Count to|Convert|What is} $N{| in binary| in hex| in Roman numerals| miles in km}{.|?}", "What happened in $Y?", "Who {won|was president|was king} in $Y?"], &["-"]),
    (&["{Translate|How do you say|What is} {hello|good morning|thank you|the house|I love you|water|goodbye|my friend} {in|into} $W{.|?}", "{Teach me|How do I learn|Is it hard to learn} $W{.|?}", "Who speaks $W?"],
     &["French", "German", "Spanish", "Latin", "Greek", "Polish", "Czech", "Dutch", "Turkish", "Arabic", "Hindi", "Japanese", "Korean", "Russian", "Swahili", "Welsh", "Irish", "Finnish"]),
    (&["What {time|day|date|year|month} is it{| today| now}?", "{What is|Tell me} the {news|latest news|weather|time|date}{| today}{?|.}", "{Who|Which team} won the {game|match|election|race|cup|world cup}{| yesterday}?", "{What should I|What can I|Where should I} {eat|wear|cook|watch|read|buy|do|study} {today|tonight|tomorrow|this weekend}?", "{Should I|Is it good to|Is it bad to} {marry|move|buy a house|sell my car|quit my job|drink coffee|smoke|run|invest}?", "{I feel|I am} {sad|sick|tired|bored|lonely|hungry|angry}{.|. What should I do?}", "{What is|What's} the meaning of life?", "{Play|Sing|Open|Turn on|Call|Send} {music|a song|the door|the light|my mother|a message}.", "{Can you|Please} {play|sing|dance|drive|swim|see|hear|dream|search the web|open a file|send an email}{?|.}", "{Write|Give me} {some code|a program|a Python script|a function|a SQL query} {for|to} {sorting|a game|my homework|read a file|parse text}.", "{How tall is|How deep is|How old is|How far is|How heavy is} the {moon|sun|ocean|earth|Eiffel Tower|Mount Everest}?", "{Why is|Is} {the sky blue|grass green|the sea salty|ice cold|fire hot|the earth round}?", "{When|In which year} {did the war end|was Rome founded|was the wheel invented|did dinosaurs live|is Easter|does the sun set}?"], &["-"]),
];

/// Questions outside the world that training never sees, neither words nor phrasing.
pub const UNKNOWN_HELD: &[&str] = &[
    "What is the boiling point of mercury?", "Who painted the Mona Lisa?", "How many legs does a scorpion have?", "Which is the longest river on earth?",
    "What's the best way to train for a marathon?", "Could you proofread my essay?", "Name three chemical elements.", "What year did the Berlin Wall fall?",
    "Who is the tallest man alive?", "Recommend a thriller to me.", "What are the rules of poker?", "How does a microwave heat food?",
    "Can penguins fly?", "What is the speed of light?", "Who invented the telescope?", "Which vitamins are in oranges?",
    "How do I change a tyre?", "What is the tallest mountain in Scotland?", "Please solve x squared equals nine.", "Do fish sleep?",
    "What is your favourite colour?", "Give me tips for a job interview.", "How many planets are there?", "What does the word serendipity mean?",
    "Who was the first person in space?", "How can I lose weight?", "What do koalas eat?", "Is a tomato a fruit?",
    "How do vaccines protect us?", "Who composed the Ninth Symphony?", "Sort these numbers: 5, 3, 9.", "What is the plural of ox?",
    "What is the GDP of Switzerland?", "Which sport uses a shuttlecock?", "How do I tie a tie?", "What's a good name for a baby girl?",
    "Why do leaves turn red?", "Who owns the Eiffel Tower?", "Where was Chopin born?", "What is the smallest bone of the body?",
    "Tell me how to play the trumpet.", "How do bees make honey?", "Which king had six wives?", "How do I get rid of a headache?",
    "Is there life on Mars?", "What is the opposite of hot?", "How many bytes are in a megabyte?", "Fix the bug in my JavaScript.",
    "What was the score of last night's basketball game?", "Who sang Yesterday?", "Which metal is liquid at room temperature?", "How do I grow tomatoes?",
    "What is the stock price of Apple?", "When is the next full moon?", "How do you play backgammon?", "Which country has the most islands?",
    "Describe the taste of saffron.", "What is a haiku made of?", "How long do turtles live?", "Who discovered penicillin?",
];

/// The reply to all of them.
pub const REFUSAL: &[&str] = &["I am sorry, I don't know that. I can help with ticket prices, the airline desk and ropewalk."];
