//! The phrasings of the small world. `{a|b}` stands for one of its branches (they nest), `$C` and `$D` for cities, `$P`
//! for a price, `$W` for a word. The lists named `HELD` are used by the evaluation alone.

/// Questions for the price of a ticket.
pub const PRICE: &[&str] = &[
    "How much {is|would be} {a|the} {ticket|flight|return ticket|return flight|plane ticket|seat|fare} to $C?",
    "How much {does|would|will} {a|the} {ticket|flight|return ticket|trip|journey|plane ticket} to $C cost{| me}?",
    "What {is|would be} the {price|cost|fare} of {a|one} {ticket|flight|return ticket|return flight|seat} to $C?",
    "What is the {fare|ticket price|flight price|price|cost} to $C?",
    "What's the {fare|ticket price|price|cost} {to|for} $C?",
    "What does {a ticket|a flight|a return|it|a return ticket|a seat} to $C cost?",
    "What does it cost to {fly|go|travel|get} to $C?",
    "How much does it cost to {fly|go|travel|get} to $C?",
    "How much to {fly|go|travel|get} to $C?",
    "{Price|Fare|Ticket price|Cost} to $C?",
    "{Price|Fare|Cost|Ticket} for $C{|, please}{?|.}",
    "$C, how much?",
    "I {want|would like|need|have|plan|wish} to {fly|go|travel} to $C. {How much is it?|What does it cost?|What is the price?|How much is a ticket?}",
    "I want to {go to|visit|see|fly to} $C. {What would a ticket cost?|What is the fare?|How much?|Price?}",
    "{Can|Could|Would} you {tell me|give me|look up|check|find|find out} the {price|fare|cost|ticket price} {to|for|of a ticket to|of a flight to} $C?",
    "{Can|Could} you {tell me|check} {how much|what} {a ticket|a flight|a return ticket} to $C {costs|would cost|is}?",
    "{Please|} {tell me|give me|look up|check|find} the {price|fare|cost} {to|for|of a ticket to|of a flight to} $C{| please}.",
    "I need {a ticket|a flight|two tickets|a seat|a return} to $C. {How much?|What is the price?|What's the fare?}",
    "I {would like|want|need} to know {the price of|the fare for|what you charge for|how much you charge for} {a ticket|a flight} to $C.",
    "{Do|Would} you know {how much|what} a {ticket|flight} to $C {costs|is}?",
    "Do you {fly|go} to $C{| and how much is it|, and what does it cost}?",
    "Do you have {tickets|flights|a flight|a price|prices} {to|for} $C?",
    "{My|Our} {sister|brother|friend|mother|son|daughter|boss|aunt} {lives|is|works|studies} in $C. {How much is a ticket there?|What does it cost to fly there?|What would a flight cost?}",
    "{We|They} are {going|flying|travelling} to $C {next week|in May|tomorrow|in summer|on Monday|soon}. {How much is it?|What is the fare?|What do you charge?}",
    "{Ticket|Flight|Return ticket|A ticket|One ticket|A flight} to $C{, please|, how much|, price}{.|?}",
    "{I'm|I am} {looking for|after|searching for|interested in} {a ticket|a flight|tickets|flights|a price} to $C.",
    "{I'm|I am} {thinking of|thinking about|planning} {a trip|a holiday|a visit|a journey} to $C. What {would|does} {a ticket|a flight|it} cost?",
    "What {would|will} {I|we} {pay|have to pay|need to pay} {for a ticket|for a flight|to fly|to go} to $C?",
    "How {expensive|dear} is {a ticket|a flight|it to fly|a trip} to $C?",
    "Is {a ticket|a flight|it} to $C {expensive|cheap}?",
    "{Quote me|Give me a quote for|Get me a price for|Show me the price of} {a ticket|a flight|a trip} to $C.",
    "{Book|Reserve|Buy} {me|} a {ticket|flight} to $C{| please}. {How much is it?|What does it cost?}",
    "{Let me know|I want to hear|Say} {the price of|what you ask for} a {ticket|flight} to $C.",
    "{What are|Tell me} {your|the} {prices|fares} {to|for} $C{?|.}",
    "{Any|Are there} {tickets|flights|seats} to $C? {What do they cost?|How much?}",
    "{How about|What about} {a ticket|a flight|a trip} to $C?",
];

/// Questions for a price that training never sees.
pub const PRICE_HELD: &[&str] = &[
    "Could I get the going rate for $C?",
    "What sum should I set aside for a trip to $C?",
    "I have to be in $C on Friday, what would that set me back?",
    "My cousin is getting married in $C and I need to fly in. What is the damage?",
    "For $C, what is your best price?",
    "If I wanted to go to $C, how much money would I need?",
    "Please help me: I need the cost of flying to $C.",
    "Hello there, what would you charge to take me to $C?",
    "Tickets to $C: what do they go for these days?",
    "I was wondering how much you ask for a seat on the plane to $C.",
    "Would you mind checking what $C costs?",
    "What is a one way ticket to $C worth?",
    "I'd love to see $C. Is there a fare you can offer?",
    "Name the price of a flight to $C.",
    "How many dollars is it to $C?",
    "So, flights to $C, how much are they?",
    "What do I owe you for a ticket to $C?",
    "Kindly inform me of the fare to $C.",
    "Looking to book $C. Price please.",
    "How much are you asking for $C?",
    "My company is sending me to $C. What will the ticket cost them?",
    "Check the fare to $C for me, would you?",
    "Two of us want to see $C, how much per person?",
    "What's it going to cost if I fly out to $C?",
];

/// Questions for two prices at once.
pub const BOTH: &[&str] = &[
    "How much are tickets to $C and $D?",
    "What {are the prices|are the fares|is the price} {to|for} $C and {to|for} $D?",
    "{Prices|Fares} for $C and $D{, please.|?}",
    "{Can you|Could you|Please} {compare|check|look up} {the prices of|tickets to|the fares to} $C and $D.",
    "{I want to|I would like to} {go to|visit} $C and $D. {How much is each?|What does each cost?|What are the fares?}",
    "What does a {ticket|flight} to $C cost, and {one to|what about} $D?",
];

/// Follow-up questions that name another city.
pub const NEXT: &[&str] = &[
    "And to $C?",
    "And $C?",
    "{What|How} about $C?",
    "{And what|What|And how} about {a ticket|a flight} to $C?",
    "{And for|Now} $C{?|, please.}",
    "{Thanks|OK|Good|Fine|I see|Great}. {And to|What about|How about|And} $C?",
    "{Hmm|Oh|Well}, {and|what about|how about} $C{| then| instead}?",
    "{Is|Would} $C {be|} {cheaper|more expensive}?",
    "{That is|That's|It is} {too much|too expensive|a lot}. {What about|And|How about} $C?",
    "{Then|OK, then} {check|try|look up} $C{| please}.",
];

/// Questions that name no city yet.
pub const NOWHERE: &[&str] = &[
    "How much is a {ticket|flight}?",
    "I {want|need|would like} {a ticket|a flight|to fly|to book a flight|to buy a ticket|to travel}.",
    "{What are|Tell me} your {prices|fares}{?|.}",
    "{Can|Could} you {check|look up|give me} {a price|a fare|the price of a ticket}{| for me}?",
    "{What does|How much does} a {ticket|flight} cost?",
    "I {need|want} a {price|quote|fare}{| please}.",
    "{Can you help me|Please help me} {book|find} a flight{?|.}",
];

/// Answers to "which city?".
pub const CITY_ONLY: &[&str] = &["$C", "$C.", "{To|For} $C{.|| please.|, please.}", "I {want|would like} to {fly|go} to $C.", "$C{ please|, please}.", "It is $C.", "My destination is $C."];

/// The desk asks where to.
pub const WHICH: &[&str] = &["Which city would you like to fly to?"];

/// The desk states a price.
pub const STATE: &[&str] = &["A return ticket to $C costs $P."];

/// The desk states two prices.
pub const STATE_BOTH: &[&str] = &["A return ticket to $C costs $P, and one to $D costs $Q."];

/// The desk has no price.
pub const NO_PRICE: &[&str] = &["I am sorry, I have no price for $C."];

/// No tool was given.
pub const NO_TOOL: &[&str] = &["I cannot look up ticket prices here, because I was given no price tool."];

/// After a price.
pub const AFTER: &[(&str, &str)] = &[
    ("{Thanks|Thank you|Great, thanks|Perfect, thank you|Thanks a lot|OK, thank you}{.|!}", "You are welcome! Where else would you like to fly?"),
    ("{Is that|Does it include|Is this} {a return|the way back|both ways|there and back}?", "Yes, all our prices are for a return ticket."),
    ("{Book it|I'll take it|Can you book it|Please book that|I want to buy it|Reserve it}{| for me}{.|?|, please.}", "I can only tell you prices. Please book at the desk or on our web page."),
    ("{That is|That's} {expensive|a lot|too much|dear|quite expensive}{.|!}", "I am sorry. You could ask me for another city."),
    ("{That is|That's} {cheap|good|great|fine|fair|not bad|a good price}{.|!}", "I am glad to hear that. Can I check another city for you?"),
    ("{Are you sure|Really|Is that right|Is that correct}?", "Yes, that is the price in our table."),
    ("{Is there|Do you have} {a discount|anything cheaper|a cheaper ticket|a special offer}{| for students| for children| for groups}?", "No, our table has one price for each city."),
    ("{Which|What} currency is that{| in}?", "Our prices are in US dollars."),
];

/// Questions about the airline, with its answers.
pub const DESK: &[(&[&str], &[&str], &str)] = &[
    (
        &["{How much|What} {baggage|luggage} {can I take|may I bring|is allowed|is included}?", "{What is|Tell me} {your|the} {baggage|luggage} {allowance|limit|rule}{?|.}", "{Can I|May I} {bring|take} {a suitcase|a bag|luggage|two bags}?"],
        &["How many bags am I allowed?", "Is a suitcase part of the fare?"],
        "Each ticket includes one suitcase of 23 kg and one cabin bag.",
    ),
    (
        &["{When|At what time|What time} {is the desk|are you|is your office} open?", "What are your {opening|office|working} hours?", "{When do you|What time do you} {open|close}?"],
        &["Until what time can I reach the desk?", "Are you open in the evening?"],
        "The desk is open every day from six in the morning to ten at night.",
    ),
    (
        &["{When|How early|What time} {do I have to|must I|should I} {check in|be at the airport|arrive}?", "When does check-in {open|close|start|end}?", "How {long|much time} before {the flight|departure} {must I be there|does check-in close}?"],
        &["How soon before takeoff do I need to show up?", "Is check-in possible an hour before the flight?"],
        "Check-in opens three hours before departure and closes 45 minutes before it.",
    ),
    (
        &["{Can|May} I {bring|take|fly with} {my|a} {dog|cat|pet}{| on board| on the plane}?", "{Do you|Does the airline} {allow|take|carry} {pets|dogs|cats|animals}?", "What about {pets|animals|my dog|my cat}?"],
        &["Is my hamster welcome on board?", "What is the policy on animals in the cabin?"],
        "Small pets may travel in the cabin in a closed bag; please tell the desk in advance.",
    ),
    (
        &["{Can|May} I {cancel|return|refund} {my|a|the} {ticket|flight|booking}?", "{How do I|Can I} get {a refund|my money back}?", "What is {your|the} {refund|cancellation} {policy|rule}?"],
        &["What happens if I call the trip off?", "Will I be paid back if I do not fly?"],
        "You can cancel free of charge up to 24 hours before departure.",
    ),
    (
        &["{Do you|Does the plane} have {wifi|internet}{| on board}?", "Is there {wifi|internet} on {board|the plane|your flights}?"],
        &["Can I get online during the flight?"],
        "Yes, there is free wifi on every flight.",
    ),
    (
        &["{Do you|Will you} serve {food|meals|drinks|lunch|dinner}{| on board}?", "Is there {food|a meal|something to eat|a drink} on {board|the plane|the flight}?", "{Are|Do} {meals|drinks} {included|cost extra}?"],
        &["Will I go hungry on the way?", "What is there to eat during the flight?"],
        "Yes, a meal and soft drinks are included on every flight.",
    ),
    (
        &["{Which|What} cities do you {fly to|serve}?", "{Where|Where all} do you fly{| to}?", "{What|Which} {destinations|places} {do you have|are there|do you serve}?"],
        &["Give me your list of destinations.", "What places are on your route map?"],
        "I have no list of cities, but I can look up the price if you name one.",
    ),
    (
        &["{How do|How can|Where can} I {pay|book|buy a ticket}?", "{Can|May} I pay {by card|in cash|with a credit card}?", "{Do you|Will you} {take|accept} {cards|cash|credit cards}?"],
        &["What forms of payment work at the desk?"],
        "You can book and pay at the desk or on our web page, in cash or by card.",
    ),
    (
        &["{Can|May} I {change|move|rebook} my {flight|ticket|booking|date}?", "How do I change {my flight|the date|my booking}?"],
        &["Could I shift my trip to another day?"],
        "You can change the date once, free of charge, at the desk.",
    ),
    (
        &["{Can|May} {children|my child|my son|my daughter|kids} {fly|travel} alone?", "{Do you|Do} {take|carry} {children|kids} {travelling alone|alone}?"],
        &["Is it all right for a minor to go without an adult?"],
        "Children of eight years and more may fly alone if the desk is told in advance.",
    ),
    (
        &["{Can|May|How do} I {choose|pick|reserve} {a|my} seat?", "{Do you have|Can I get} a {window|aisle} seat?"],
        &["Is sitting by the window an option?"],
        "You can choose your seat at check-in, free of charge.",
    ),
];

/// Small talk, with its answers.
pub const TALK: &[(&[&str], &[&str], &str)] = &[
    (
        &["{Hi|Hello|Hey|Good morning|Good evening|Good afternoon|Good day|Greetings|Hi there|Hello there|hi|hello|hey}{|!|.}"],
        &["Howdy!", "Hello hello!"],
        "Hello! How can I help you?",
    ),
    (
        &["How are you{| today| doing| doing today}?", "How do you do?", "{How is it going|How's it going|How are things|Are you well|Are you OK}?", "{Hi|Hello|Hey}, how are you?"],
        &["How have you been?", "Everything all right with you?"],
        "I am fine, thank you. How can I help you?",
    ),
    (
        &["{Thanks|Thank you|Thank you very much|Thanks a lot|Many thanks|Thanks for your help|thanks|thank you|Cheers}{|.|!}", "{That was|You were|That is} {helpful|very helpful|great|nice|kind}{.|!}"],
        &["Much obliged!", "I appreciate it."],
        "You are welcome!",
    ),
    (
        &["{Bye|Goodbye|See you|Good night|Bye bye|See you later|bye|Have a nice day|Take care}{|.|!}", "{I have to|I must|I need to} {go|leave}{| now}{.|!}", "{That is|That's|That was} all{|, thanks|, thank you}{.|!}"],
        &["Farewell!", "I am off now, so long."],
        "Goodbye, and have a good trip!",
    ),
    (
        &["{Who|What} are you?", "What is your name?", "{What's|Tell me} your name{?|.}", "{What|Who} am I {talking|speaking|chatting} to?", "{Introduce yourself|Tell me about yourself|Say who you are}.", "{Do you have|What's|Have you got} a name?"],
        &["Whom do I have the pleasure of speaking with?", "And you are?"],
        "I am ropewalk-tiny, a small language model trained by the ropewalk project.",
    ),
    (
        &["What can you {do|help me with|tell me|answer}{|?}", "{How can|How could} you help{| me}?", "What {are you|are you good} {for|able to do}?", "What do you know{| about}?", "{Help|help|Help me|I need help}{|.|!}", "What {can|should|may} I ask{| you}?", "Can you help me?"],
        &["What kind of things do you handle?", "Give me an idea of what you are useful for."],
        "I can look up ticket prices, answer questions about the airline desk and tell you about ropewalk.",
    ),
    (
        &["Are you {a robot|a human|human|a machine|a person|real|an AI|a bot|alive|a computer}?", "Am I {talking|speaking} to a {robot|human|machine|person|bot}?"],
        &["Is there a human being behind this chat?", "Be honest, are you just software?"],
        "I am a small language model, not a person.",
    ),
    (
        &["{Tell me|Do you know|Say|Can you tell me} {a joke|something funny|another joke}{?|.}", "{Make me laugh|Be funny|Joke please}{.|!}"],
        &["I could use a good laugh."],
        "Why did the rope go to school? It wanted to learn how to make ends meet.",
    ),
    (
        &["You are {great|nice|clever|good|smart|the best|wonderful|funny|awesome}{.|!}", "{I like you|Good job|Well done|Nice work|Great job|Good bot}{.|!}"],
        &["What a fine assistant you are!"],
        "Thank you, that is kind of you.",
    ),
    (
        &["You are {stupid|bad|useless|dumb|silly|wrong|slow|not helpful}{.|!}", "{That is|That's|This is} {wrong|not true|nonsense|bad|useless}{.|!}"],
        &["You really are no use at all."],
        "I am sorry about that. I am a very small model and make mistakes.",
    ),
    (
        &["{Ok|OK|Okay|Fine|Good|Alright|I see|Yes|Sure|Right|Great|ok|yes}{|.|!}"],
        &["Got it."],
        "Good. What else can I do for you?",
    ),
    (
        &["{No|No thanks|No, thank you|Nothing|Nothing else|nope|no}{|.|!}"],
        &["Not really."],
        "All right. I am here if you need me.",
    ),
    (
        &["{How old are you|When were you born|When were you made}?"],
        &["What is your age?"],
        "I have no age. I was trained in about an hour on two processor cores.",
    ),
    (
        &["{Where|In which city|In what place} {are you|do you live|are you from}?", "Where do you {come from|run}?"],
        &["What place do you call home?"],
        "I run on your own machine, in the ropewalk engine.",
    ),
    (
        &["{Which|What} languages do you {speak|know|understand}?", "{Do you speak|Can you speak|Do you know|Can you write} {French|German|Spanish|Italian|Chinese|Polish|English}?"],
        &["Is English the only language you understand?"],
        "I only speak English.",
    ),
    (
        &["{Which|What} airline {is this|are you|do you work for|am I talking to}?", "{Who|Whom} do you work for?", "{What|Who} is Larkspur Air?", "Tell me about Larkspur Air."],
        &["What is the name of this airline?"],
        "This is the desk of Larkspur Air, a small airline that exists only in this example.",
    ),
];
