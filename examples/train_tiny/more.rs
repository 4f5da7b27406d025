//! Phrasings of the later parts of the run, when names are copied well and variety matters most.

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
