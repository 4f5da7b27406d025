//! Phrasings of the later stages of the data, when names are copied well and variety matters most.

/// More questions for the price of a ticket.
pub const PRICE: &[&str] = &[
    "{My|Our} {uncle|friend|cousin|colleague|neighbour|family} {is having a party|is ill|has a birthday|got a new house|opens a shop} in $C. {What would a ticket cost me?|How much do I pay to get there?|How much is the flight?|Please tell me the fare.}",
    "{There is|They hold} a {concert|meeting|conference|match|fair} in $C {and I want to be there|next month|on Sunday}. {How much is a seat?|What do you charge for the flight?|What is the fare?}",
    "I {must|have to|should|need to} {be|arrive|get to work} in $C {on Monday|by Thursday|tomorrow morning|next week}. {How much will it cost?|What is the ticket price?|What do I pay?}",
    "{For|To} $C, {how much do you charge|what is the fare|what does it cost|what do you ask}{| please}?",
    "{When|If} I {fly|travel|go} to $C, what {do I pay|will it cost me|is the price|does the ticket cost}?",
    "{Suppose|Say|Imagine} {I|we} {fly|go|travel} to $C. {How much money is that?|What is the price?|What does it cost?}",
    "{Kindly|Please} {say|state|check|send me|look for} {the cost|the price|the fare|your price} {of a flight|for a seat|for a trip|of a ticket} to $C.",
    "{Flights|Seats|Trips|Journeys} to $C: {how much|what price|what is the cost|what do they cost}?",
    "{I|We} {hear|think|guess} $C is {nice|lovely|warm|beautiful|interesting}. {How much is a ticket there?|What is the price of a flight there?}",
    "{What|How much} {money|cash} {do I need|should I bring|must I pay|should I save} {to fly to|for a flight to|for a ticket to|to reach} $C?",
    "{Two|Three|Four} {of us|people|adults} {want to go|are going|would like to fly} to $C. {What is the price for one?|How much is a ticket?|What does each pay?}",
    "{Could you|Can you|Would you} {please |}{find|fetch|get|say|name} {me |}{the price|a fare|a price|the cost} {to|for} $C?",
    "{What's|What is} {it worth|your offer|the charge|the rate|today's price|the best fare} {to fly to|for a trip to|for|for a flight to} $C?",
    "{Tell|Inform} {me|us} {what|how much} {it costs|we pay|I pay|you charge} {to reach|to fly to|to travel to|for a flight to} $C.",
    "{I'd|I would} {love|like|be happy} to {visit|see|go to|spend a week in} $C. {What is your price?|How much is it?|What are your fares?}",
    "{My|Our} {boss|company|school|club|team} {sends|wants|needs} {me|us} in $C. {How much is the flight?|What is the cost?|What does a seat cost?}",
    "$C {please|, please|next month|for two}{.|. How much?|: what is the fare?| - what does that cost?}",
    "{Check|Look up|See|Find out} {the price to|what a flight costs to|how much it is to|the ticket to} $C{| for me| please|, thanks}.",
    "{Going|Flying|Travelling|Moving} to $C {costs how much|is how expensive|costs what}?",
    "{I was asked|I want|I need|My wife asks me} to {find|check|know} {the price of a flight to|the fare to|what it costs to fly to} $C.",
    "{Is there|Have you got|Do you offer} a {flight|price|fare|ticket|seat} {to|for} $C{| and for how much|, and at what price}?",
    "{What|How much} {will|would|does} {the trip|the journey|the flight|flying|going} to $C {cost|come to|be}{| in dollars| all in all| in total| for one}?",
    "{How dear|How costly|How cheap} {is|would be} {the trip|the way|flying|a seat} to $C?",
    "{Do I|Will I|Would I} {pay|need} {a lot|much} {to fly|to get|to go} to $C?",
];

/// More questions outside the world.
pub const UNKNOWN: &[&str] = &[
    "How {do|can|should} I {open|close|wash|paint|plant|fold|catch|feed|measure|remove|charge|carry|hang|cut|dry|hide} {a shirt|a shoe|a carpet|a fish|a bottle|the curtain|a mirror|a pumpkin|my hair|a tent|a ladder|a battery|the roof|a tooth|a snake|my passport}?",
    "Who {painted|sang|built|composed|founded|won|wrote|designed|directed|killed|married} {the Sunflowers|the Nobel Prize|the Colosseum|Swan Lake|Microsoft|the Tour de France|the Magic Flute|the White House|Harry Potter|the king|Imagine}?",
    "What is the {largest|smallest|fastest|oldest|tallest|longest|deepest|heaviest|rarest|hottest} {animal|lake|city|building|bird|bone|desert|island|bridge|tree|star|metal|country|word}{| in the world| on earth| in Europe| of all}?",
    "How many {teeth|bones|wings|eyes|hearts|strings|keys|states|players|moons|minutes|letters|colours|grams|metres} {does a shark have|are in the body|does a fly have|has a guitar|are in a year|are in the alphabet|does Jupiter have|are in a mile|are there|has a piano}?",
    "Which {animal|planet|gas|fruit|country|language|instrument|team|vitamin|bird|colour|sea} {is the biggest|runs fastest|has rings|is yellow|makes milk|is best|has the most people|cannot fly|do plants need|sleeps all winter}?",
    "{Why|How} do {cats|dogs|birds|stars|people|leaves|babies|magnets|planes|fish|bees|clouds} {sleep|fly|shine|laugh|fall|cry|work|breathe|dance|move|stay up|sing}?",
    "{Can|Do|Are} {cats|dogs|whales|snakes|ants|robots|bats|cows|birds|spiders} {swim|fly|see at night|intelligent|dangerous|eat grass|mammals|hear|dream|blind}?",
    "{What does|What is} {the word |}{gratitude|nostalgia|ephemeral|melancholy|paradox|irony|lunch|abbey|zeal|candid|obtuse}{ mean|}?",
    "{Recommend|Suggest|Name|List|Give me} {a good book|a film|three animals|some music|a few games|a name for my cat|five rivers|a sport|two poets|a gift for my mother}{.| please.}",
    "{Please|Can you|Could you} {correct|summarise|check|read|improve|rewrite} {my essay|this text|my letter|the article|my homework|my poem|this sentence}{.|?}",
    "{Solve|Work out|Simplify} {x plus 4 equals 9|this equation|2x equals 8|the puzzle|my sudoku|y minus 3 equals 5}{.| for me.}",
    "{When|Where} {was|did} {the first car built|Mozart grow up|Everest climbed first|the war begin|the Titanic sink|printing invented|Einstein study|the empire end}?",
    "{What are the rules of|How do you play|How do I win at|Who invented|Teach me} {chess|tennis|bridge|rugby|golf|checkers|cricket|hockey|dominoes|bingo}{?|}",
    "{What|Which} {year|month|century} {did the revolution start|was America discovered|was paper invented|did he become king|was the treaty signed|is harvest|did the empire fall}?",
    "{What is|Tell me} {the opposite|the plural|a synonym|the spelling|the origin} of {small|goose|happy|rhythm|fast|child|dark|leaf|robot|city}{?|.}",
    "{Is|Are} {a whale|a potato|the sun|a spider|coffee|chess|glass|honey|a mushroom|Pluto} {a fish|a vegetable|a star|an insect|healthy|a sport|a liquid|a plant|a planet|a drug}?",
    "{I need|Give me|Do you have} {tips|advice|help|ideas} {for|with} {a birthday party|my exam|my diet|learning to swim|a speech|saving money|my garden|a first date}{.|?}",
    "What is the {price|value} of {gold|oil|a house|Bitcoin|silver|a share of Google|a stamp|milk}{| today}?",
];

/// Sentences that may stand before or after a question and change nothing.
pub const ASIDE: &[&str] = &[
    "I had a long {day|week|night}.",
    "{My|Our} {cat|dog|baby|neighbour} {sleeps|is loud|is ill|waits}.",
    "{We|I} love {travelling|the sea|music|books|cooking}.",
    "The {kids|others|neighbours|guests} are {excited|asleep|waiting|hungry}.",
    "It is {raining|late|early|cold|hot|sunny} {here|today|again}.",
    "I {hope|think} you can help{| me}.",
    "I {asked|called|wrote} {yesterday|before|last week|twice}{| but nobody answered}.",
    "{This is|It is} {urgent|important|my first time|for a friend|just a question}.",
    "{My|Our} {wife|husband|son|sister|teacher|doctor} {wants to know|told me to ask|asked me|is curious}.",
    "I {have|am at} {little time|work|five minutes|home|school}.",
    "{I am|We are} {new here|from far away|a bit lost|in a hurry|on holiday}.",
    "{Take your time|No rush|Be quick|Listen|Look|Wait}.",
    "I {never|always|often} {ask|read|forget|think about} such things.",
    "{Someone|A man|A friend|My colleague} {said|told me} you {know|could answer|are good}.",
    "{Yesterday|Last year|On Friday} I was {ill|there|in the mountains|very tired}.",
];

/// Words that noise puts in the place of others.
pub const WORDS: &[&str] = &[
    "now", "really", "so", "the", "a", "my", "just", "maybe", "then", "here", "there", "again",
    "very", "one", "old", "new", "good", "small", "quickly", "today", "kindly", "exactly", "about",
    "with", "for", "in", "on", "at", "and", "or", "but", "that", "this", "some", "any", "all",
    "each", "more", "also", "even", "still", "ever", "soon", "often", "well", "back", "over",
    "out", "please", "would", "could", "should", "might", "will", "want", "need", "like", "take",
    "get", "give", "find", "see", "say", "know", "think", "ask", "look", "mind", "set", "going",
    "money", "much", "many", "less", "best", "charge", "amount", "sum", "thing", "way", "time",
    "day", "week", "people", "person", "friend", "family", "work", "home", "plan", "idea",
    "question",
];

/// More questions about the project, one list for each entry of [`crate::topics::PROJECT`].
pub const PROJECT: &[&[&str]] = &[
    &[
        "{May|Can} {a company|my firm|anybody|I} {sell|use|modify|build on} {ropewalk|a program with ropewalk|this code}{| without paying| without asking}?",
        "{Does|Do I have to} {ropewalk cost|pay for ropewalk|buy a licence|it cost} {money|something|anything}?",
        "{Tell me|What about|I need to know} {the licence|the terms of use|your licence|the rights}{.|?}",
        "{Am I|Are we|Is one} {free to|permitted to|entitled to} {use|share|change} {ropewalk|the source|it}?",
    ],
    &[
        "{What|Which} language {do the authors write|are the crates in|should I know|did you choose}?",
        "{Is the source|Are the crates|Is this} {in Rust|Rust code|C code|Python code}?",
        "{Tell me|Name} the {language|programming language} {of ropewalk|of the project|it is written in}.",
        "{How|With what} {was|is} ropewalk {programmed|coded|implemented}?",
    ],
    &[
        "{Tell me|Show me} {how to chat|how to start the chat|how I talk to you|the chat command}.",
        "{What|Which line} {do I enter|must I enter|should I run} {to chat|to talk|for a talk} {with you|with the model|here}?",
        "{Where|How} {does one|do we|can we} {start talking|speak with the model|begin a chat}?",
        "{I would like|I want} {a chat|a talk|to converse} {with you|with this model}{ at home| in my shell|}. {How?|What do I run?}",
    ],
    &[
        "{Tell me|Show me} {how to train you|the training command|how I rebuild you|how you are trained again}.",
        "{What|Which program|Which example} {do I start|do I run|makes it possible} {to train|to get|to build} {the model|you|the tiny model} {again|anew|a second time}?",
        "{Can|Could} {anyone|I|we} {repeat|redo|run} {the training|your training}{| and how}?",
        "{I want|I would like} to {train|reproduce|recreate} {you|this model|the weights}{.|. How?| on my machine.}",
    ],
    &[
        "{Tell me|Show me} {how to test|the test command|how the tests run|how to run the tests}.",
        "{How|Where} {are|do I start} {the tests|the checks} {run|started|here|}?",
        "{What|Which command} {tests|checks|verifies} {the code|the crates|everything|the project}?",
        "{I changed something|I made a change|I edited the code}. {How do I test it?|Which command checks it?|What do I run?}",
    ],
    &[
        "{What|Which} {crates|libraries|packages} {can I use|do I get|come with ropewalk|are part of it}?",
        "{Is ropewalk|Is the project} {one crate|split into crates|several crates|a single library}?",
        "{I need|Please give me|Can I have} {a list|the names|an overview} of {the crates|all crates|the parts}{.|?}",
        "{Enumerate|Write down|Print} the {crates|modules|parts}{| of ropewalk| of the project}.",
    ],
    &[
        "{Tell me|Say} how {big|large|small} you are.",
        "{How much|What} {do you weigh|disk space do you need|is in your file|room do you take}?",
        "{Do you have|Have you} {many|a lot of|few|billions of} {parameters|weights}?",
        "{How|Just how} {small|tiny|little} {are you|is this model|is the model}?",
    ],
    &[
        "{Tell me|Say} {how you were trained|who made you|where you come from|who trained you}.",
        "{By whom|How|On what} {were you|was this model} {created|taught|trained|written}?",
        "{Did|Does} {a company|OpenAI|Google|Meta|a university} {train|make|build} you?",
        "{From|On} {which|what} {text|data|material} {did you learn|were you taught|do you come}?",
    ],
    &[
        "{Must I|Should I|Do I have to} {buy|have|install} {a GPU|a graphics card|Python|anything else|a server}?",
        "{Is|Would} {my laptop|an old computer|a CPU|my PC} {enough|good enough|be enough}{| for you| for this}?",
        "{What are|Tell me} the {requirements|needs|minimum requirements|hardware needs}{?|.}",
        "{Can|Could} {you|this|the model} run {offline|on a plain computer|without a network|on two cores}?",
    ],
    &[
        "{What|Which} {GGUF files|networks|kinds of models|language models} {does the engine read|can be loaded|can be run|are possible}?",
        "{Tell me|List|Show me} the {supported models|model families|supported families}.",
        "{I have|I use} {a Llama model|Qwen|Mistral|a Phi model}. {Does it work?|Can I run it?|Will ropewalk load it?}",
        "{Do|Can} {Llama and Qwen|Mistral models|Phi models|models of other people} {work|run} {here|in ropewalk|with the engine}?",
    ],
    &[
        "{Tell me|Explain} {why it is called ropewalk|where the name is from|what the name means}.",
        "{Ropewalk is a strange name|A funny name|What a name}. {Why?|What does it mean?|Where is it from?}",
        "{Who|Why did you|Why did they} {chose|choose|take|pick} {the name|this name|that word}?",
        "{What|Which} {kind of word|place|thing} is {a ropewalk|ropewalk}{| in real life| really}?",
    ],
    &[
        "{Tell me|Say} {which examples there are|what I can try|what I can run}.",
        "{Which|What} {example|examples} {should I look at|do you recommend|ship with it|does the repository hold}?",
        "{How many|What kind of} examples {are in ropewalk|are there|does it have}?",
        "{I want to see|Show me|I look for} {an example|some examples|a demo|a sample}{.| please.}",
    ],
    &[
        "{Tell me|Show me} {how to use another model|how to load my model|how to pass a model file}.",
        "{Where|How} do I {put|give|enter|pass} {my model|my own GGUF|the path of a model|another file}?",
        "{I downloaded|There is|I found} {a GGUF file|a model|Llama}. {How do I run it?|How do I load it?|What do I do with it?}",
        "{Could|Can} the {chat|chat example|program} {use|take|load} {my file|other models|a different model}?",
    ],
    &[
        "{Tell me|Say} {how long your context is|how much you remember|how many tokens you see}.",
        "{What happens|When is it too much|What is the limit} {after many words|if I write a lot|for a long chat|of a conversation}?",
        "{How|What} {big|large|size} is {your window|the context|your memory}?",
        "{Can|Could} you {read|take|handle} {a whole book|ten pages|very long texts|2000 tokens}?",
    ],
    &[
        "{Tell me|Explain} {how you tokenize|about your tokenizer|which tokenizer you use}.",
        "{Is|Do you use} {your tokenizer|a|it} {BPE|a word tokenizer|SentencePiece|byte-level}{| tokenizer|}?",
        "{How large|What size|How long} is {the vocabulary|your list of tokens|the token list}?",
        "{What|Which} {vocabulary|token set|tokens} {do you use|do you work with|have you got}?",
    ],
    &[
        "{Tell me|Say} {how to begin|what to do first|where to begin}.",
        "{What|How} {now|do I set it up|do I set up ropewalk|is ropewalk installed}?",
        "{Where|With what} {should|does|must} {I|a beginner|one} {begin|start}?",
        "{I want|I would like} to {try|use|learn} ropewalk. {How?|What do I do?|Where do I start?}",
    ],
];

/// More questions at the desk, one list for each entry of [`crate::phrases::DESK`].
pub const DESK: &[&[&str]] = &[
    &[
        "{What|How many bags} {may|can} {a passenger|we|each of us} {bring|take along|carry}?",
        "{My|Our} {bag|suitcase} {weighs 20 kg|is heavy|is small|is large}. {Is that OK?|May I bring it?|Does it cost extra?}",
        "{Tell me|What are} {about luggage|the rules for bags|the bag rules|your luggage rules}{.|?}",
    ],
    &[
        "{Is anybody|Is someone} {there|at the desk|in the office} {today|at eight|on Saturday|after nine}?",
        "{Tell me|Say} {when you open|when you close|your hours|when the desk is open}.",
        "{How early|From what hour|Till when} {do you open|can I come|is somebody there|do you work}?",
    ],
    &[
        "{Tell me|Say} {when check-in opens|when to be there|when to check in|how early I must come}.",
        "{How many hours|How many minutes} {before departure|before the flight|ahead} {do I come|is check-in open|must I be there}?",
        "{By when|From when|Until when} {can|must} {I|we} check in?",
    ],
    &[
        "{Tell me|What are} {about pets|the rules for animals|your pet rules|if dogs are allowed}{.|?}",
        "{My|Our} {dog|cat|parrot|turtle} {comes along|wants to fly too|travels with me}. {Is that fine?|May it?|What must I do?}",
        "{Could|Might} {a dog|my cat|an animal|my pet} {fly|come|travel} {with me|along|on board}?",
    ],
    &[
        "{Tell me|Explain} {how to cancel|your refund rules|what a cancellation costs|how refunds work}.",
        "{What|How much} {do I lose|is lost|comes back|is returned} {if I cancel|when I cancel|if I stay at home}?",
        "{I changed my mind|I cannot come|I am ill}. {Can I cancel?|What about my money?|Is there a refund?}",
    ],
    &[
        "{Tell me|Say} {if there is wifi|about the internet on board|whether wifi is free}.",
        "{Do your planes|Does each flight|Does your plane} {offer|come with|have} {wifi|internet|a network}?",
        "{Can|Could} I {work|send mail|watch films|chat} online {on board|in the plane|while flying}?",
    ],
    &[
        "{Tell me|Say} {if there is food|what you serve|about meals on board|what I can drink}.",
        "{Is|Are} {lunch|dinner|a drink|water|snacks} {free|served|part of the ticket|on board}?",
        "{What|When} {do we eat|do we get to drink|do you serve}{| on board| in the plane}?",
    ],
    &[
        "{Tell me|Say} {where you fly|which cities you serve|where I can go|what cities there are}.",
        "{How many|What other} {cities|destinations|places} {do you serve|are there|do you fly to|have you}?",
        "{I need|I want|Have you got} {the list of cities|a list of places|all your destinations|your network}{.|?}",
    ],
    &[
        "{Tell me|Say} {how to pay|how to book|where to buy a ticket|which cards you take}.",
        "{Could|Can} {I|we} {pay|buy} {on the web|online|at the desk|with coins|by phone}?",
        "{What|How} {is the way|do people|must I do} {to pay|book|to book}?",
    ],
    &[
        "{Tell me|Say} {how to change my date|if I can rebook|how rebooking works}.",
        "{My|Our} {plans|dates} {changed|have changed|are different now}. {Can I rebook?|Can I fly later?|What about my ticket?}",
        "{Does|Will} {a change|a new date|rebooking|another day} cost {extra|anything|money}?",
    ],
    &[
        "{Tell me|Say} {if kids may fly alone|about children alone|from what age children fly alone}.",
        "{My|Our} {nephew|niece|boy|girl} {is eight|is eleven|is young|goes to school}. {Can he travel alone?|Can she fly alone?|May the child go alone?}",
        "{How old|What age} {must|should} {my son|my daughter|a kid|children} be to {fly|travel} {alone|without me}?",
    ],
    &[
        "{Tell me|Say} {how to choose a seat|if I can pick a seat|how seats are chosen}.",
        "{I like|I prefer} {the window|the aisle|the front|sitting together}. {Can I choose?|Is that possible?|How do I get that?}",
        "{Are|Is} {seats|the seat|my seat} {reserved|fixed|free to choose|chosen by me}?",
    ],
];

/// More small talk, one list for each entry of [`crate::phrases::TALK`].
pub const TALK: &[&[&str]] = &[
    &[
        "{Good|A good|A very good} {day|morning|evening|afternoon} {to you|to all|, friend|sir|, assistant}{.|!}",
        "{Hey hey|Hello again|Hi all|Hola|Hullo|Ahoy|Salut|Hi hi|Well hello}{|!|.}",
    ],
    &[
        "{How|And how} {are you|do you do|is it} {this morning|tonight|these days|then}?",
        "{Feeling|Doing|Are you feeling|Are you doing} {good|well|fine|better|all right}{| today}?",
        "{How|What} {has your day been|is your mood|do things look like}{| today}?",
    ],
    &[
        "{I am|We are} {very thankful|thankful|very grateful|so grateful}{| to you}{.|!}",
        "{That was|This is} {just what I needed|what I wanted|a big help|good help}{.|!}",
        "{A thousand thanks|Big thanks|Thank you kindly|Thanks again|Thanks, friend|Thank you, that is all I needed|Bless you}{.|!}",
    ],
    &[
        "{Bye for now|Good bye|Till tomorrow|Till later|Catch you later|Bye, friend|Over and out|Later|Have a good one}{.|!}",
        "{We|I} {say goodbye|are leaving|must run|have to run|will leave you now}{.|!}",
        "{Sleep well|Have a nice evening|Good night to you|See you around|Until then|Until tomorrow}{.|!}",
    ],
    &[
        "{Tell me|Say} {who you are|your name|what to call you|who I am talking with}{.| please.}",
        "{With whom|To whom|With what} {do I speak|am I speaking|do I talk}?",
        "{Are you|Is your name} {ChatGPT|Claude|Siri|ropewalk-tiny|Larkspur|Bob}?",
        "{Does|Has} {this|the} {model|bot|assistant} {have a name|a name}?",
    ],
    &[
        "{Tell me|Say} {how you can help|what you know|what you can do|what I may ask}.",
        "{What|Which} {sort of questions|subjects|kinds of help} {do you know|do you offer|can you give|may I ask}?",
        "{What|How} {do I use you for|can I use you|do I use you|may I use you for}?",
        "{I need|Please give me|Can I get} {some help|a hand|help with something|assistance}{.|?}",
    ],
    &[
        "{Tell me|Say} {if you are human|whether you are real|if you are a bot}.",
        "{You are|You're} {a machine|a robot|not human|a bot|a person|a human}{, right?|, no?|, are you not?}",
        "{Does|Do} {a person|humans|people|somebody} {write|type|read} {this|these answers|here|your replies}?",
    ],
    &[
        "{Let me hear|Give me|Please tell me|I would love} {a joke|something to laugh about|a funny story|your best joke}{.| please.}",
        "{Can|Could} you {make me laugh|be funny|tell a joke|joke}?",
        "{I am bored|I feel down|I had a bad day}{, tell me a joke|. A joke please|. Make me laugh}.",
    ],
    &[
        "{You did|You do} {a good job|a great job|that well|very well}{.|!}",
        "{How|So} {nice|clever|smart|kind|helpful} {you are|of you}{.|!}",
        "{Such|What} a {smart|friendly|helpful|sweet|great} {machine|robot|little model|chat|bot}{.|!}",
    ],
    &[
        "{You|This bot} {cannot do anything|got it wrong|did not understand|understood nothing|talk nonsense}{.|!}",
        "{I am|We are} {not happy|disappointed|unhappy|angry} {with you|with that|with this answer}{.|!}",
        "{What|Such} {nonsense|a bad answer|a stupid bot|rubbish}{.|!}",
    ],
    &[
        "{That is|It is} {good|fine|clear|all right|OK with me}{.|!}",
        "{Aha|Hm|Mhm|I got it|Of course|Exactly|Correct|Works for me|No problem|Fair enough|Certainly}{.|!}",
    ],
    &[
        "{No|Not}{,|} {really not|at the moment|for now|I think not|that will do}{.|!}",
        "{I do not|I don't} {need anything|need more|want anything|have more questions}{.|!}",
        "{Nothing|No more} {for now|today|right now|from me}{.|!}",
    ],
    &[
        "{Tell me|Say} {your age|how old you are|when you were made}.",
        "{How|What} {many years|old|year} {are you|have you|were you trained|is this model}{| from}?",
        "{Are you|Is this model} {older than me|a child|one year old|ancient}?",
    ],
    &[
        "{Tell me|Say} {where you are|where you run|where you live}.",
        "{Where|On what|On which} {machine|computer|continent|exactly} {are you|do you run|do you live|is this}?",
        "{Does|Do} {my text|my words|what I say|my data} leave {my computer|my machine|this room}?",
    ],
    &[
        "{Tell me|Say} {which languages you speak|if you speak German|something in French}.",
        "{Bonjour|Guten Tag|Buenos dias|Hallo, wie geht es|Merci|Danke|Ciao bella|Prego}{.|!|?}",
        "{I|We} {speak|prefer|only speak} {German|French|Polish|Spanish|Italian}. {Do you?|You too?|Is that OK?}",
    ],
    &[
        "{Tell me|Say} {which airline this is|who you work for|what airline you are}.",
        "{Whose|What|Which} {desk|airline|company} {is this|is it|are you with|do you speak for}?",
        "{Does|Is} Larkspur Air {exist|real|a real company|fly|a big airline}?",
    ],
];

/// Words that make a question with a city in it one for a price.
pub const PRICE_WORDS: &[&str] = &[
    "price",
    "cost",
    "costs",
    "fare",
    "ticket",
    "tickets",
    "fly",
    "pay",
    "charge",
    "seat",
    "cheap",
    "expensive",
    "dollars",
    "dollar",
    "book",
    "offer",
    "buy",
    "afford",
    "spend",
    "worth",
    "quote",
    "amount",
    "bill",
    "owe",
    "fee",
    "cash",
];
