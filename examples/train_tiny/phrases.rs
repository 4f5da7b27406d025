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

/// More of them, written before the second part of the run was made and read by nobody until the end.
pub const PRICE_FRESH: &[&str] = &[
    "What kind of money are we talking about for a trip to $C?",
    "Give me a number for $C, will you?",
    "My grandparents live near $C. What do you take for the journey?",
    "How steep are your fares to $C at the moment?",
    "We need to get to $C as cheaply as we can. What does it come to?",
    "Roughly what am I looking at for a flight out to $C?",
    "Can I afford $C? Tell me the fare.",
    "$C, return, one adult. How much?",
    "I plan on spending my holidays in $C, so what is the fare?",
    "Do me a favour and look up the price for $C.",
    "What is the cheapest way to $C going to cost me?",
    "Is $C within my budget of 500?",
    "Let us talk about $C: what do you charge?",
    "Hi, I'm calling about a flight to $C and what it costs.",
    "The price to $C, if you would be so kind.",
    "How much should I expect to pay if I want to see $C?",
    "Any idea what a seat to $C costs right now?",
    "What are people paying to fly to $C?",
    "I was told you have good prices to $C. How good?",
    "Please work out what a ticket to $C costs.",
    "My students are going on a trip to $C, what is the fare for each?",
    "What do you want for a flight to $C?",
    "Would 300 be enough to get me to $C?",
    "I have never been to $C. What does it take to go there, in money?",
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
pub const CITY_ONLY: &[&str] = &[
    "$C",
    "$C.",
    "{To|For} $C{.|| please.|, please.}",
    "I {want|would like} to {fly|go} to $C.",
    "$C{ please|, please}.",
    "It is $C.",
    "My destination is $C.",
];

/// The desk asks where to.
pub const WHICH: &[&str] = &["Which city would you like to fly to?"];

/// The desk states a price.
pub const STATE: &[&str] = &["A return ticket to $C costs $P."];

/// The desk states two prices.
pub const STATE_BOTH: &[&str] = &["A return ticket to $C costs $P, and one to $D costs $Q."];

/// The desk has no price.
pub const NO_PRICE: &[&str] = &["I am sorry, I have no price for $C."];

/// No tool was given.
pub const NO_TOOL: &[&str] =
    &["I cannot look up ticket prices here, because I was given no price tool."];

/// After a price.
pub const AFTER: &[(&str, &str)] = &[
    (
        "{Thanks|Thank you|Great, thanks|Perfect, thank you|Thanks a lot|OK, thank you}{.|!}",
        "You are welcome! Where else would you like to fly?",
    ),
    (
        "{Is that|Does it include|Is this} {a return|the way back|both ways|there and back}?",
        "Yes, all our prices are for a return ticket.",
    ),
    (
        "{Book it|I'll take it|Can you book it|Please book that|I want to buy it|Reserve it}{| for me}{.|?|, please.}",
        "I can only tell you prices. Please book at the desk or on our web page.",
    ),
    (
        "{That is|That's} {expensive|a lot|too much|dear|quite expensive}{.|!}",
        "I am sorry. You could ask me for another city.",
    ),
    (
        "{That is|That's} {cheap|good|great|fine|fair|not bad|a good price}{.|!}",
        "I am glad to hear that. Can I check another city for you?",
    ),
    (
        "{Are you sure|Really|Is that right|Is that correct}?",
        "Yes, that is the price in our table.",
    ),
    (
        "{Is there|Do you have} {a discount|anything cheaper|a cheaper ticket|a special offer}{| for students| for children| for groups}?",
        "No, our table has one price for each city.",
    ),
    (
        "{Which|What} currency is that{| in}?",
        "Our prices are in US dollars.",
    ),
];

/// Questions about the airline, with its answers.
pub const DESK: &[(&[&str], &[&str], &str)] = &[
    (
        &[
            "{How many|Which} {suitcases|pieces of luggage|cabin bags} {can I|may I|do I get to} {take|bring|carry|check in}{| with me}?",
            "Is {luggage|baggage|a bag|hand luggage} {included|free|part of the ticket|in the price}?",
            "How {heavy|big} {may|can} my {bag|suitcase|luggage} be?",
            "{I have|I am taking} {two bags|a big suitcase|a lot of luggage}. Is that {allowed|OK|fine}?",
            "Do I {pay|have to pay} {extra |}for {bags|luggage|a suitcase}?",
            "{How much|What} {baggage|luggage} {can I take|may I bring|is allowed|is included}?",
            "{What is|Tell me} {your|the} {baggage|luggage} {allowance|limit|rule}{?|.}",
            "{Can I|May I} {bring|take} {a suitcase|a bag|luggage|two bags}?",
        ],
        &[
            "How many bags am I allowed?",
            "Is a suitcase part of the fare?",
        ],
        "Each ticket includes one suitcase of 23 kg and one cabin bag.",
    ),
    (
        &[
            "{Is the desk|Are you|Is your office} {open|there|closed} {now|at night|on Sunday|tomorrow|at noon|in the morning|on weekends}?",
            "{Until when|From when|How long|How late} {are you|is the desk|is your office} {open|there|reachable}?",
            "When can I {reach|call|visit|come to} {you|the desk|your office}?",
            "{Opening hours|Office hours|Hours}?",
            "{When|At what time|What time} {is the desk|are you|is your office} open?",
            "What are your {opening|office|working} hours?",
            "{When do you|What time do you} {open|close}?",
        ],
        &[
            "Until what time can I reach the desk?",
            "Are you open in the evening?",
        ],
        "The desk is open every day from six in the morning to ten at night.",
    ),
    (
        &[
            "{How|When} can I check in{| online| for my flight| today}?",
            "{Is it|Am I} too late {to|for} check in?",
            "How {soon|late|early} {can I|may I|do I need to|should I} {check in|come|be there|show up}{| before departure| before the flight}?",
            "{Can I|Is it possible to} check in {early|late|the day before|two hours before|at the gate}?",
            "When does {the gate|boarding} {open|close}?",
            "{When|How early|What time} {do I have to|must I|should I} {check in|be at the airport|arrive}?",
            "When does check-in {open|close|start|end}?",
            "How {long|much time} before {the flight|departure} {must I be there|does check-in close}?",
        ],
        &[
            "How soon before takeoff do I need to show up?",
            "Is check-in possible an hour before the flight?",
        ],
        "Check-in opens three hours before departure and closes 45 minutes before it.",
    ),
    (
        &[
            "{I have|I travel with} a {small |}{dog|cat|rabbit|bird|pet|hamster}. {Can it come|May it fly|Is that allowed|What are the rules}?",
            "Are {pets|animals|dogs|cats|rabbits} {welcome|allowed|permitted}{| on board| in the cabin}?",
            "What is {your|the} {pet policy|rule for pets|policy on pets|policy for dogs}?",
            "{Can|May} I {bring|take|fly with} {my|a} {dog|cat|pet}{| on board| on the plane}?",
            "{Do you|Does the airline} {allow|take|carry} {pets|dogs|cats|animals}?",
            "What about {pets|animals|my dog|my cat}?",
        ],
        &[
            "Is my hamster welcome on board?",
            "What is the policy on animals in the cabin?",
        ],
        "Small pets may travel in the cabin in a closed bag; please tell the desk in advance.",
    ),
    (
        &[
            "What {happens|do I do} if I {cannot fly|cancel|do not come|get sick|miss the flight|change my mind}?",
            "{Do I|Will I|Can I} get {money back|my money back|a refund|paid back} if I {cancel|do not fly|change my mind}?",
            "{I want to|I have to|I need to} {cancel|give back} my {trip|flight|ticket|booking}.",
            "Is {cancelling|a cancellation} free?",
            "How much does it cost to cancel?",
            "{Can|May} I {cancel|return|refund} {my|a|the} {ticket|flight|booking}?",
            "{How do I|Can I} get {a refund|my money back}?",
            "What is {your|the} {refund|cancellation} {policy|rule}?",
        ],
        &[
            "What happens if I call the trip off?",
            "Will I be paid back if I do not fly?",
        ],
        "You can cancel free of charge up to 24 hours before departure.",
    ),
    (
        &[
            "{Can|May} I {use the internet|go online|use my laptop|check my email|surf the web|get online}{| on board| on the plane| during the trip| in the air}?",
            "{Does|Is} {wifi|internet} {cost extra|included|free|work on board|available}?",
            "Will I be {online|offline} {on board|in the air}?",
            "{Do you|Does the plane} have {wifi|internet}{| on board}?",
            "Is there {wifi|internet} on {board|the plane|your flights}?",
        ],
        &["Can I get online during the flight?"],
        "Yes, there is free wifi on every flight.",
    ),
    (
        &[
            "{Can I|Will I|Do I} {eat|get food|get a drink|get a meal|have lunch|drink something} {on board|on the plane|on the flight|on the way}?",
            "{What|Which} {food|meals|drinks|snacks} {do you serve|are there|do you have}?",
            "{Do I|Should I} {bring|take} {my own food|a sandwich|something to eat}?",
            "I {am|will be} hungry {on the flight|on board}, {is there food|what is there}?",
            "{Do you|Will you} serve {food|meals|drinks|lunch|dinner}{| on board}?",
            "Is there {food|a meal|something to eat|a drink} on {board|the plane|the flight}?",
            "{Are|Do} {meals|drinks} {included|cost extra}?",
        ],
        &[
            "Will I go hungry on the way?",
            "What is there to eat during the flight?",
        ],
        "Yes, a meal and soft drinks are included on every flight.",
    ),
    (
        &[
            "{Show|Give|Send|Tell} me {all|the list of|your|a list of} {cities|destinations|places|routes}{.|?}",
            "{Which|What} {cities|countries|routes|places} {are on your list|can I fly to|can I choose|are available}?",
            "Do you have a {list|map} of {cities|destinations|routes}?",
            "Where can I {go|fly|travel} with you?",
            "{Which|What} cities do you {fly to|serve}?",
            "{Where|Where all} do you fly{| to}?",
            "{What|Which} {destinations|places} {do you have|are there|do you serve}?",
        ],
        &[
            "Give me your list of destinations.",
            "What places are on your route map?",
        ],
        "I have no list of cities, but I can look up the price if you name one.",
    ),
    (
        &[
            "{Which|What} {payment methods|cards|ways to pay} {do you accept|are there|do you take}?",
            "Is {cash|a card|a cheque|a credit card} {OK|accepted|possible|fine}?",
            "How does {booking|payment|paying} work?",
            "Where do I {book|pay|buy my ticket|get my ticket}?",
            "{How do|How can|Where can} I {pay|book|buy a ticket}?",
            "{Can|May} I pay {by card|in cash|with a credit card}?",
            "{Do you|Will you} {take|accept} {cards|cash|credit cards}?",
        ],
        &["What forms of payment work at the desk?"],
        "You can book and pay at the desk or on our web page, in cash or by card.",
    ),
    (
        &[
            "{I want to|I need to|I have to} {change|move|shift} {my flight|the date|my trip|my ticket}{| to another day| to Monday| to next week}.",
            "{Can|Could} I fly {a day later|another day|on another day|earlier|one day earlier}{| instead}?",
            "Is it possible to {change the date|rebook|move my flight}?",
            "What does it cost to {change|move} {the date|my flight|a booking}?",
            "{Can|May} I {change|move|rebook} my {flight|ticket|booking|date}?",
            "How do I change {my flight|the date|my booking}?",
        ],
        &["Could I shift my trip to another day?"],
        "You can change the date once, free of charge, at the desk.",
    ),
    (
        &[
            "{My|Our} {son|daughter|child|kid} is {six|seven|nine|ten|twelve}. {Can he fly alone|Can she fly alone|May the child fly alone|Is that old enough}?",
            "{At what age|How old must a child be|From what age} {can|may|to} {children|a child|kids|} {fly alone|travel alone}?",
            "Do {children|kids|minors} need {an adult|a parent|company}{| on board| to fly}?",
            "{Can|May} {children|my child|my son|my daughter|kids} {fly|travel} alone?",
            "{Do you|Do} {take|carry} {children|kids} {travelling alone|alone}?",
        ],
        &["Is it all right for a minor to go without an adult?"],
        "Children of eight years and more may fly alone if the desk is told in advance.",
    ),
    (
        &[
            "{I want|I would like|Please give me} a {window|aisle|front|good} seat.",
            "{How|When|Where} {do I|can I} {choose|pick|get|reserve} {a|my} seat?",
            "Can we sit {together|at the window|by the window|at the front|next to each other}?",
            "Does {a window seat|choosing a seat|seat choice} cost {extra|anything}?",
            "{Can|May|How do} I {choose|pick|reserve} {a|my} seat?",
            "{Do you have|Can I get} a {window|aisle} seat?",
        ],
        &["Is sitting by the window an option?"],
        "You can choose your seat at check-in, free of charge.",
    ),
];

/// Small talk, with its answers.
pub const TALK: &[(&[&str], &[&str], &str)] = &[
    (
        &[
            "{Hi|Hello|Hey} {you|bot|friend|again|everyone|assistant}{|!|.}",
            "{Hello|Hi}, {nice to meet you|good to see you|is anyone there|are you there|anybody home}{.|?|!}",
            "{Welcome|Good to see you|Nice to meet you|Yo|Hiya|Morning|Evening|Hallo}{|!|.}",
            "{Hi|Hello|Hey|Good morning|Good evening|Good afternoon|Good day|Greetings|Hi there|Hello there|hi|hello|hey}{|!|.}",
        ],
        &["Howdy!", "Hello hello!"],
        "Hello! How can I help you?",
    ),
    (
        &[
            "How {are you feeling|do you feel|was your day|is your day|is life|are things going}{| today|}?",
            "{Are you|Is everything} {fine|good|all right|OK|well}{| today|}?",
            "{You OK|All good|What's up|How's life|What's new}?",
            "I hope you are {well|fine}.",
            "How are you{| today| doing| doing today}?",
            "How do you do?",
            "{How is it going|How's it going|How are things|Are you well|Are you OK}?",
            "{Hi|Hello|Hey}, how are you?",
        ],
        &["How have you been?", "Everything all right with you?"],
        "I am fine, thank you. How can I help you?",
    ),
    (
        &[
            "{I thank you|Thank you so much|Thanks so much|Thx|Many thanks to you|I am grateful|That helps|That helped a lot|Very kind of you}{.|!}",
            "{Thanks for|Thank you for} {that|it|your time|the help|the answer|the information}{.|!}",
            "{Wonderful|Perfect|Excellent|Super}, {thanks|thank you}{.|!}",
            "{Thanks|Thank you|Thank you very much|Thanks a lot|Many thanks|Thanks for your help|thanks|thank you|Cheers}{|.|!}",
            "{That was|You were|That is} {helpful|very helpful|great|nice|kind}{.|!}",
        ],
        &["Much obliged!", "I appreciate it."],
        "You are welcome!",
    ),
    (
        &[
            "{I am|I'm} {leaving|going|off|done}{| now}{.|!}",
            "{So long|Until next time|See you soon|See you tomorrow|Talk to you later|Farewell then|Ciao|Adieu}{.|!}",
            "{I will|I'll} {be off|go now|stop here|come back later}{.|!}",
            "{Bye|Goodbye|See you|Good night|Bye bye|See you later|bye|Have a nice day|Take care}{|.|!}",
            "{I have to|I must|I need to} {go|leave}{| now}{.|!}",
            "{That is|That's|That was} all{|, thanks|, thank you}{.|!}",
        ],
        &["Farewell!", "I am off now, so long."],
        "Goodbye, and have a good trip!",
    ),
    (
        &[
            "{May I ask|Can I ask|Could you tell me} {who you are|your name|what you are|who I am talking to}?",
            "{Who|What} {is this|is there|is speaking|is answering|exactly are you}?",
            "{How|What} {should|may|do|can} I call you?",
            "{Which|What} {model|program|system|kind of model} are you?",
            "What are you called?",
            "Your name?",
            "{Who|What} are you?",
            "What is your name?",
            "{What's|Tell me} your name{?|.}",
            "{What|Who} am I {talking|speaking|chatting} to?",
            "{Introduce yourself|Tell me about yourself|Say who you are}.",
            "{Do you have|What's|Have you got} a name?",
        ],
        &[
            "Whom do I have the pleasure of speaking with?",
            "And you are?",
        ],
        "I am ropewalk-tiny, a small language model trained by the ropewalk project.",
    ),
    (
        &[
            "{What|Which} {topics|questions|tasks|things} {can you|do you|are you able to} {answer|do|handle|know|help with}?",
            "{Tell|Show} me what {you can do|you know|I can ask|you are good at}.",
            "{What are|Tell me} your {skills|abilities|features|strengths}{?|.}",
            "What {use|help} are you?",
            "{Why are you here|What is your job|What is your purpose|What is your task}?",
            "I {do not|don't} know what to ask.",
            "What can you {do|help me with|tell me|answer}{|?}",
            "{How can|How could} you help{| me}?",
            "What {are you|are you good} {for|able to do}?",
            "What do you know{| about}?",
            "{Help|help|Help me|I need help}{|.|!}",
            "What {can|should|may} I ask{| you}?",
            "Can you help me?",
        ],
        &[
            "What kind of things do you handle?",
            "Give me an idea of what you are useful for.",
        ],
        "I can look up ticket prices, answer questions about the airline desk and tell you about ropewalk.",
    ),
    (
        &[
            "{Do you have|Have you got} {feelings|a body|a brain|friends|a family|parents|a soul|eyes}?",
            "{Is this|Are you} {just |only |}{software|a program|code|a chatbot|artificial|a script}?",
            "{Is there|Can I talk to} {a human|a person|a real person|somebody real}{| here| there|}?",
            "{Can you|Do you} {think|feel|dream|feel pain|get tired}?",
            "Are you {a robot|a human|human|a machine|a person|real|an AI|a bot|alive|a computer}?",
            "Am I {talking|speaking} to a {robot|human|machine|person|bot}?",
        ],
        &[
            "Is there a human being behind this chat?",
            "Be honest, are you just software?",
        ],
        "I am a small language model, not a person.",
    ),
    (
        &[
            "I {want|need|would like} {a joke|to laugh|to hear a joke|something funny}{.| please.}",
            "{Got|Have you|Do you have} {any jokes|a joke|something funny}{| for me}?",
            "{Cheer me up|Amuse me|Entertain me|One joke please|Another one}{.|!}",
            "{Tell me|Do you know|Say|Can you tell me} {a joke|something funny|another joke}{?|.}",
            "{Make me laugh|Be funny|Joke please}{.|!}",
        ],
        &["I could use a good laugh."],
        "Why did the rope go to school? It wanted to learn how to make ends meet.",
    ),
    (
        &[
            "{What a|You are a} {good|great|nice|clever|lovely|fine} {bot|model|helper|program}{.|!}",
            "{I love you|You are my hero|You rock|You did well|I am impressed|Impressive|Very good}{.|!}",
            "You are {great|nice|clever|good|smart|the best|wonderful|funny|awesome}{.|!}",
            "{I like you|Good job|Well done|Nice work|Great job|Good bot}{.|!}",
        ],
        &["What a fine assistant you are!"],
        "Thank you, that is kind of you.",
    ),
    (
        &[
            "{You make|You made} {a mistake|mistakes|an error|no sense}{.|!}",
            "{I hate you|You are no good|You know nothing|You do not help|This does not help|Not good|You failed|You are terrible}{.|!}",
            "{That answer|Your answer|Your reply} {is|was} {wrong|bad|nonsense|false}{.|!}",
            "You are {stupid|bad|useless|dumb|silly|wrong|slow|not helpful}{.|!}",
            "{That is|That's|This is} {wrong|not true|nonsense|bad|useless}{.|!}",
        ],
        &["You really are no use at all."],
        "I am sorry about that. I am a very small model and make mistakes.",
    ),
    (
        &[
            "{Understood|I understand|Very well|All right|Agreed|That makes sense|Makes sense|Deal|Cool|Nice|Good to know|Interesting}{.|!}",
            "{OK|Good|Fine}, {I see|understood|got you|that is clear|clear}{.|!}",
            "{Ok|OK|Okay|Fine|Good|Alright|I see|Yes|Sure|Right|Great|ok|yes}{|.|!}",
        ],
        &["Got it."],
        "Good. What else can I do for you?",
    ),
    (
        &[
            "{Not now|Not today|Never mind|I am good|No, that is fine|No more questions|Nothing more|No need|Forget it}{.|!}",
            "{No|Nope}, {not now|nothing else|that is it|I am fine|never mind}{.|!}",
            "{No|No thanks|No, thank you|Nothing|Nothing else|nope|no}{|.|!}",
        ],
        &["Not really."],
        "All right. I am here if you need me.",
    ),
    (
        &[
            "{When is|What is} your {birthday|date of birth|birth date|birth year}?",
            "{How long|Since when} {have you existed|do you exist|did your training take|have you been here}?",
            "{Are you|You must be} {old|young|new}{?|.}",
            "{How old are you|When were you born|When were you made}?",
        ],
        &["What is your age?"],
        "I have no age. I was trained in about an hour on two processor cores.",
    ),
    (
        &[
            "{Which|What} {place|country|city|server|computer|cloud} are you {in|on|from|running on}?",
            "{Where is|What is} your {home|house|location|office|server}?",
            "{Do you run|Are you} {in the cloud|on a server|on my computer|locally|online|here}?",
            "{Where|In which city|In what place} {are you|do you live|are you from}?",
            "Where do you {come from|run}?",
        ],
        &["What place do you call home?"],
        "I run on your own machine, in the ropewalk engine.",
    ),
    (
        &[
            "{Can|Could|Do} {you|we} {talk|speak|chat|write|answer} in {French|German|Spanish|Polish|Chinese|another language}?",
            "{Sprechen Sie Deutsch|Parlez-vous anglais|Habla usted ingles|Hablas espanol|Do you understand Russian}?",
            "Is {English|French|German} {your language|the only language|your mother tongue|OK}?",
            "{Which|What} languages do you {speak|know|understand}?",
            "{Do you speak|Can you speak|Do you know|Can you write} {French|German|Spanish|Italian|Chinese|Polish|English}?",
        ],
        &["Is English the only language you understand?"],
        "I only speak English.",
    ),
    (
        &[
            "{What|Which} {company|airline} {is this|do you belong to|runs this desk}?",
            "{Is this|Are you} {Larkspur Air|an airline|a real airline|the airline desk}?",
            "{What|Who} is {the airline|your airline|your company|your employer}{| called}?",
            "{Which|What} airline {is this|are you|do you work for|am I talking to}?",
            "{Who|Whom} do you work for?",
            "{What|Who} is Larkspur Air?",
            "Tell me about Larkspur Air.",
        ],
        &["What is the name of this airline?"],
        "This is the desk of Larkspur Air, a small airline that exists only in this example.",
    ),
];
