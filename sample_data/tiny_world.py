"""The small world that the tiny demo model is trained on, as an endless stream of chats.

Every chat is drawn from templates written for this project: greetings, the people and towns of
an invented valley, the goods of an invented shop, sums below twenty, copying, yes and no. The
model learns to speak in short plain sentences and to recognise what a customer asks. It never
sees the Lumen lamp of `support_alpaca.jsonl`: learning that is what the demo is for.
"""

# ruff: noqa: E501, SIM905  templates are read side by side: one a line, however long
# fmt: off

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

Turn = tuple[str, str]
"""What the user says, and the answer."""

Chat = list[dict[str, str]]
"""One conversation as `role` and `content` messages."""

PEOPLE = {
    # name: (town, work, animal, favourite food, colour)
    "Mira": ("Asel", "baker", "cat", "plum cake", "red"),
    "Tobin": ("Brook", "farmer", "dog", "corn soup", "brown"),
    "Lena": ("Calder", "teacher", "parrot", "apple pie", "blue"),
    "Oskar": ("Dorn", "sailor", "goat", "fish stew", "white"),
    "Nadia": ("Asel", "doctor", "horse", "rice", "green"),
    "Pavel": ("Brook", "smith", "hen", "black bread", "grey"),
    "Iris": ("Elmar", "painter", "fox", "cherry jam", "yellow"),
    "Hugo": ("Calder", "cook", "rabbit", "pancakes", "orange"),
    "Selma": ("Dorn", "pilot", "owl", "noodles", "purple"),
    "Anton": ("Elmar", "singer", "duck", "cheese", "black"),
    "Greta": ("Asel", "driver", "sheep", "honey cake", "pink"),
    "Felix": ("Brook", "clerk", "mouse", "potatoes", "silver"),
}
TOWNS = {
    # town: (place, known for, distance to the sea in miles)
    "Asel": ("on the river", "old mill", "9"),
    "Brook": ("in the hills", "spring market", "14"),
    "Calder": ("by the lake", "long bridge", "6"),
    "Dorn": ("by the sea", "lighthouse", "0"),
    "Elmar": ("in the forest", "music school", "17"),
}
GOODS = {
    # name: (kind, warranty, battery, price, colours, how to clean, switched on by, made in)
    "Nimbus": ("kettle", "one year", "no battery", "35", "red and grey", "warm water", "pushing the handle down", "Brook"),
    "Pebble": ("radio", "two years", "eight hours", "48", "blue and silver", "a dry brush", "turning the left knob", "Calder"),
    "Breeze": ("fan", "four years", "six hours", "27", "white only", "a wet sponge", "pulling the cord", "Asel"),
    "Tiko": ("clock", "five years", "ninety days", "19", "yellow and black", "a paper towel", "pressing the top", "Elmar"),
    "Marlow": ("heater", "six months", "no battery", "82", "brown only", "a vacuum", "moving the switch up", "Dorn"),
    "Quill": ("printer", "one year", "four hours", "110", "grey only", "the cleaning card", "opening the lid", "Brook"),
    "Sorrel": ("speaker", "two years", "ten hours", "64", "pink and green", "a cotton pad", "knocking on the side", "Calder"),
    "Vesta": ("toaster", "seven years", "no battery", "41", "silver only", "a small brush", "pressing the lever", "Dorn"),
}
FAULTS = {
    "A1": ("the door is open", "Close the door and wait"),
    "A2": ("the tank is empty", "Fill the tank with water"),
    "A3": ("the filter is dirty", "Wash the filter"),
    "B1": ("the cable is loose", "Push the cable in"),
    "B2": ("the motor is blocked", "Take out the block and start again"),
    "B3": ("the sensor is wet", "Dry the sensor"),
    "C1": ("the network is lost", "Restart the router"),
    "C2": ("the memory is full", "Delete old files"),
    "C3": ("the key is stuck", "Press the key again"),
}
OPPOSITES = {
    "hot": "cold", "big": "small", "fast": "slow", "day": "night", "open": "closed", "old": "new",
    "up": "down", "light": "dark", "wet": "dry", "loud": "quiet", "full": "empty", "early": "late",
    "hard": "soft", "long": "short", "happy": "sad", "cheap": "expensive", "left": "right", "clean": "dirty",
}
KINDS = {
    "animal": ["cat", "dog", "fox", "owl", "goat", "horse", "duck", "sheep", "rabbit", "mouse"],
    "fruit": ["apple", "plum", "cherry", "pear", "lemon", "grape", "peach"],
    "colour": ["red", "blue", "green", "white", "black", "yellow", "brown", "grey"],
    "tool": ["hammer", "saw", "brush", "needle", "knife", "spoon"],
    "vehicle": ["car", "boat", "train", "bus", "plane", "bicycle"],
}
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
WORDS = (
    "lamp table window garden river paper button screen cable phone letter order parcel box street "
    "summer winter morning evening music water bread stone glass wood night light power base arm app "
    "account password address invoice refund delivery plan month week minute second finger cloth "
    "network update settings profile email team customer question answer shop store price money "
    "plug socket wall desk room house door floor roof tree leaf flower field road bridge hill snow "
    "rain wind cloud star moon fire smoke sound voice song story book page line number code list "
    "picture camera film game ball card ticket map key lock bag coat shoe hat shirt ring gift "
    "breakfast lunch dinner coffee tea milk sugar salt egg cake soup plate cup bottle fridge oven "
    "engine wheel metal plastic rubber steam heat cold colour shade timer alarm bell signal device "
    "switch handle button label model part spare repair charge charger mode level speed sensor "
    "friend child family doctor driver teacher worker office school market station hotel bank post "
    "mail message call help advice rule reason plan change choice problem mistake error return "
    "payment discount receipt contract country language today tomorrow holiday weekend hour year"
).split()
NAMES = "Ben Clara David Emma Frank Hanna Ivan Julia Karl Lucy Martin Nora Peter Rosa Simon Vera".split()
ASK = ["{}?", "{}?", "{}?", "Hello, {l}?", "Please tell me, {l}?", "Quick question: {l}?",
       "Hi! {}?", "I want to know: {l}?", "Can you help me? {}?", "One more thing, {l}?"]


def ask(rng: random.Random, *questions: str) -> str:
    """One of the questions (given without a mark), in one of the ways people put one."""
    question = rng.choice(questions)
    return rng.choice(ASK).format(question, l=question[0].lower() + question[1:])


def small_talk(rng: random.Random) -> Turn:
    """Greetings, thanks, the assistant's name, saying goodbye."""
    name = rng.choice(NAMES)
    day = rng.choice(["morning", "evening", "afternoon"])
    return rng.choice(
        [
            (rng.choice(["Hello!", "Hi there.", "Hi!", "Hello", "Hey"]), "Hello! How can I help you?"),
            (f"Good {day}.", f"Good {day}! What can I do for you?"),
            (f"My name is {name}.", f"Nice to meet you, {name}."),
            (f"Hi, I am {name}.", f"Hello {name}! How can I help you?"),
            (rng.choice(["Who are you?", "What is your name?"]), "I am Pip, a very small assistant."),
            (rng.choice(["How are you?", "How do you feel today?"]), "I am fine, thank you. And you?"),
            (rng.choice(["Thanks!", "Thank you.", "Thank you very much!"]), "You are welcome!"),
            (rng.choice(["Bye!", "Goodbye.", "See you later."]), "Goodbye, and have a nice day!"),
            (rng.choice(["What can you do?", "How can you help me?"]), "I can chat, count a little, and tell you about the valley."),
            (rng.choice(["I am sad.", "I am not happy today.", "This is a bad day."]), "I am sorry to hear that. Tell me more."),
            (rng.choice(["I am happy.", "This is a good day.", "I feel great."]), "That is good to hear!"),
            (rng.choice(["Are you a person?", "Are you a human?"]), "No, I am a small language model."),
        ]
    )


def person(rng: random.Random) -> Turn:
    """Facts about the people of the valley."""
    name = rng.choice(list(PEOPLE))
    town, work, animal, food, colour = PEOPLE[name]
    article = "an" if animal[0] in "aeiou" else "a"
    return rng.choice(
        [
            (ask(rng, f"Where does {name} live", f"In which town does {name} live", f"What is the home of {name}"), f"{name} lives in {town}."),
            (ask(rng, f"What is the work of {name}", f"What does {name} do", f"Which job does {name} have"), f"{name} is a {work}."),
            (ask(rng, f"Which animal does {name} have", f"What pet does {name} keep", f"Does {name} have a pet"), f"{name} has {article} {animal}."),
            (ask(rng, f"What does {name} like to eat", f"What is the favourite food of {name}"), f"{name} likes {food}."),
            (ask(rng, f"What colour does {name} like", f"Which colour is the house of {name}"), f"The house of {name} is {colour}."),
            (f"Tell me about {name}.", f"{name} is a {work} from {town} and has {article} {animal}."),
        ]
    )


def town(rng: random.Random) -> Turn:
    """Facts about the five towns."""
    name = rng.choice(list(TOWNS))
    place, known, miles = TOWNS[name]
    people = " and ".join(p for p, facts in PEOPLE.items() if facts[0] == name)
    return rng.choice(
        [
            (ask(rng, f"Where is {name}", f"Where can I find {name}"), f"{name} is {place}."),
            (ask(rng, f"What is {name} known for", f"What can I see in {name}", f"Why do people visit {name}"), f"{name} is known for its {known}."),
            (ask(rng, f"How far is {name} from the sea", f"How many miles is it from {name} to the sea"), f"It is {miles} miles from {name} to the sea."),
            (ask(rng, f"Who lives in {name}", f"Which people live in {name}"), f"{people} live in {name}."),
        ]
    )


def goods(rng: random.Random) -> Turn:
    """What a customer of the shop asks about one of its goods."""
    name = rng.choice(list(GOODS))
    kind, warranty, battery, price, colours, cloth, switch, made = GOODS[name]
    it = rng.choice([f"the {name}", f"the {name} {kind}", f"my {name}", f"the {kind}", f"my {kind}"])
    the = f"The {name} {kind}"
    has = "has no battery" if battery == "no battery" else f"runs for {battery} on battery"
    return rng.choice(
        [
            (ask(rng, f"How long is the warranty of {it}", f"What warranty does {it} have", f"For how long is {it} covered", f"Is there a guarantee on {it}", f"How many years of warranty come with {it}"), f"{the} has a warranty of {warranty}."),
            (ask(rng, f"How long does the battery of {it} last", f"What is the battery life of {it}", f"How many hours does {it} run on battery", f"When is {it} out of battery"), f"{the} {has}."),
            (ask(rng, f"How much is {it}", f"What does {it} cost", f"What is the price of {it}", f"How much do I pay for {it}", f"Is {it} expensive"), f"{the} costs {price} euros."),
            (ask(rng, f"Which colours does {it} come in", f"What colours are there for {it}", f"Can I buy {it} in other colours", f"What does {it} look like"), f"{the} comes in {colours}."),
            (ask(rng, f"How do I clean {it}", f"What is the best way to wash {it}", f"{it[0].upper()}{it[1:]} is dirty, what can I use", f"What should I use to clean {it}"), f"Clean the {kind} with {cloth}."),
            (ask(rng, f"How do I switch on {it}", f"How can I turn {it} on", f"How do I start {it}", f"{it[0].upper()}{it[1:]} does not start, what do I do"), f"You switch it on by {switch}."),
            (ask(rng, f"Where is {it} made", f"Which town does {it} come from"), f"{the} is made in {made}."),
            (ask(rng, f"What is the {name}", f"What kind of thing is the {name}"), f"The {name} is a {kind}."),
        ]
    )


def fault(rng: random.Random) -> Turn:
    """Fault codes of the goods, and what to do about each."""
    code = rng.choice(list(FAULTS))
    cause, remedy = FAULTS[code]
    kind = rng.choice([facts[0] for facts in GOODS.values()])
    said = rng.choice(
        [
            f"What does fault {code} mean?",
            f"My {kind} shows {code}.",
            f"The {kind} says {code}, what now?",
            f"I see the code {code} on the screen. What should I do?",
            f"{code} on my {kind}, help!",
            f"How do I fix fault {code}?",
            f"It keeps showing me {code}. Why?",
        ]
    )
    return said, f"Fault {code}: {cause}. {remedy}."


def customer(rng: random.Random) -> Turn:
    """What the shop in the valley says about orders, accounts and opening hours."""
    return rng.choice(
        [
            (ask(rng, "When are you open", "What are your opening hours", "Until when is the shop open", "At what time do you close"), "The shop is open from 8 to 12."),
            (ask(rng, "Where is your shop", "How can I visit the shop", "What is your address"), "Our shop is by the old mill in Asel."),
            (ask(rng, "Where is my parcel", "When does my order arrive", "How long does delivery take", "Why is my order late"), "Most parcels arrive within a week."),
            (ask(rng, "Can I send it back", "How do I return an order", "Can I get my money back", "I do not like it, can I return it"), "Bring it back to the shop with the receipt."),
            (ask(rng, "How do I change my password", "I forgot my password, what do I do", "How can I log in again"), "Ask the clerk for a new password."),
            (ask(rng, "How do I close my account", "Can you delete my account", "I want to leave, how do I stop"), "Send us a letter and we close it."),
            (ask(rng, "How do I pay", "Can I pay by card", "How can I pay for my order"), "You can pay with coins or by card."),
            (ask(rng, "Can I talk to a person", "Who can I call", "What is your phone number"), "You can call the shop on 12 34."),
            (rng.choice(["It arrived broken.", "My parcel was damaged.", "The box is empty!", "Something is missing in the box."]), "Oh no! Please bring it to the shop."),
            (rng.choice(["I am angry about this.", "This is very bad service.", "I have a complaint."]), "I am sorry. Please tell me what went wrong."),
        ]
    )


NUMBERS = "zero one two three four five six seven eight nine ten".split()


def sums(rng: random.Random) -> Turn:
    """Sums and differences below twenty, and comparing two numbers."""
    a, b = rng.randint(0, 10), rng.randint(0, 9)
    high, low = max(a, b), min(a, b)
    more = "Yes" if a > b else "No"
    word = NUMBERS[a]
    return rng.choice(
        [
            (ask(rng, f"What is {a} plus {b}", f"How much is {a} plus {b}"), f"{a} plus {b} is {a + b}."),
            (f"{a} + {b} =", f"{a + b}"),
            (ask(rng, f"What is {high} minus {low}"), f"{high} minus {low} is {high - low}."),
            (ask(rng, f"Is {a} more than {b}"), f"{more}, {a} is {'' if a > b else 'not '}more than {b}."),
            (f"Write {word} as a number.", f"{a}"),
            (f"Count from {low} to {low + 4}.", ", ".join(str(n) for n in range(low, low + 5)) + "."),
        ]
    )


def copying(rng: random.Random) -> Turn:
    """Repeating, upper case, order of words: answers that are read off the question."""
    words = rng.sample(WORDS + NAMES, rng.randint(2, 7))
    text, code = " ".join(words), f"{rng.choice('ABCDEFGHKLMNPRSTX')}{rng.randint(10, 9999)}"
    return rng.choice(
        [
            (rng.choice([f"Repeat: {text}", f"Say {text}", f"Repeat after me: {text}", f"Copy this.\n\n{text}"]), text),
            (f"What is the first word of: {text}", words[0]),
            (f"What is the last word of: {text}", words[-1]),
            (f"Write {words[0]} and {words[1]} in the other order.", f"{words[1]} and {words[0]}"),
            (f"Say {words[0]} three times.", f"{words[0]} {words[0]} {words[0]}"),
            (f"My order is {code}. What is my order?", f"Your order is {code}."),
            (f"Note the number {code}, please.", f"I have noted {code}."),
            (f"How many words are in: {text}", NUMBERS[len(words)]),
        ]
    )


def reading(rng: random.Random) -> Turn:
    """A short text, and a question that it answers."""
    a, b = rng.sample(NAMES, 2)
    thing, other = rng.sample(WORDS[:25], 2)
    colour, day = rng.choice(KINDS["colour"]), rng.choice(DAYS)
    place = rng.choice(["kitchen", "garden", "office", "shop", "street", "station"])
    text = f"{a} has a {colour} {thing}. {b} has a {other}. They meet in the {place} on {day}."
    asked, answer = rng.choice(
        [
            (f"What colour is the {thing}?", f"The {thing} is {colour}."),
            (f"Who has the {other}?", f"{b} has the {other}."),
            (f"Who has the {thing}?", f"{a} has the {thing}."),
            ("Where do they meet?", f"They meet in the {place}."),
            ("When do they meet?", f"They meet on {day}."),
        ]
    )
    return rng.choice([f"{text} {asked}", f"Answer the question.\n\n{text} {asked}", f"{asked}\n\n{text}"]), answer


ACTS = {
    # what is to be done: ways to say how
    "start": ["press {k}", "turn {k} to the right", "hold {k} for {n} seconds"],
    "stop": ["press {k} again", "turn {k} to the left", "pull {k} out of the {o}"],
    "open": ["push {k} down", "slide {k} to the {o}", "lift {k} with one finger"],
    "set": ["tap {k} {n} times", "open Tools, then {K}, and enter {n}", "choose {n} in the list of the {o}"],
    "change": ["open Tools, then {K}, and tap Change", "tap {k} and choose a new one", "go to the {o} and tap {K}"],
    "remove": ["open Tools, then {K}, and tap Remove", "take {k} off the {o}", "send us a mail about {k}"],
    "find": ["look under Tools, then {K}", "look under {k} in the {o}", "ask our team for {k}"],
    "repair": ["use a dry {o} on {k}", "replace {k} after {n} years", "send {k} to the shop within {n} days"],
}
SAYS = ["{a} to {v} the {t}.", "{a}, and the {t} is ready.", "Please {l}.", "{a}.", "No, please {l}.", "To {v} the {t}, {l}."]


def manual(rng: random.Random) -> Turn:
    """A note on how to do something, and a question: the answer stands in the note."""
    (verb, ways), (other_verb, _) = rng.sample(list(ACTS.items()), 2)
    thing, key, other, far = rng.sample(WORDS, 4)
    number = rng.choice([*NUMBERS[2:], str(rng.randint(2, 99))])
    act = rng.choice(ways).format(k=f"the {key}", K=key.capitalize(), n=number, o=other)
    says = rng.choice(SAYS).format(a=act[0].upper() + act[1:], l=act, v=verb, t=thing)
    extra = f" You can {other_verb} the {far} later."
    note = rng.choice([says, says + extra, f"The {far} is new. {says}"])
    asked = rng.choice(
        [f"How do I {verb} the {thing}?", f"How can I {verb} my {thing}?", f"I want to {verb} the {thing}.",
         f"I can not {verb} my {thing}.", f"What do I do to {verb} the {thing}?"]
    )
    return rng.choice(
        [
            (f"Note: {note}\n\n{asked}", says),
            (f"{asked}\n\n{note}", says),
            (f"Answer the question with the note.\n\n{note} {asked}", says),
            (rng.choice(["Repeat: {}", "Say it again: {}", "Copy this sentence.\n\n{}"]).format(says), says),
        ]
    )


MEANINGS = ["low", "empty", "dirty", "blocked", "wet", "loose", "stuck", "lost", "full", "broken", "too hot", "too old", "wrong", "missing"]


def table(rng: random.Random) -> Turn:
    """Made-up codes and what they mean, read off a short list in the question."""
    letters = rng.choice("DFGHJKLMNPQRSTVWXYZ")
    codes = [f"{letters}{n}" for n in rng.sample(range(1, 10), rng.choice([1, 2, 2, 3]))]
    lines = [f"{c} means {rng.choice(WORDS)} {rng.choice(MEANINGS)}. {rng.choice(REMEDIES).format(rng.choice(WORDS))}." for c in codes]
    pick = rng.randrange(len(codes))
    asked = rng.choice(
        ["What does {} mean?", "My device shows {}.", "I see {} here, what do I do?", "How do I fix {}?", "It says {}."]
    ).format(codes[pick])
    return rng.choice([" ".join(lines) + f"\n\n{asked}", f"{asked}\n\n" + "\n".join(lines)]), lines[pick]


REMEDIES = ["Clean the {}", "Restart the {}", "Wait for the {}", "Replace the {}", "Use another {}", "Check the {}", "Move the {} by hand", "Charge the {}", "Delete the old {}"]


def language(rng: random.Random) -> Turn:
    """Opposites, kinds of things, days of the week, polite and plain rewriting."""
    word = rng.choice(list(OPPOSITES))
    other = OPPOSITES[word]
    guess = rng.choice([other, rng.choice(list(OPPOSITES.values()))])
    kind = rng.choice(list(KINDS))
    member, asked = rng.choice(KINDS[kind]), rng.choice(list(KINDS))
    day = rng.randrange(7)
    an = "an" if asked[0] in "aeiou" else "a"
    noun = rng.choice(WORDS[:20])
    return rng.choice(
        [
            (ask(rng, f"What is the opposite of {word}"), f"The opposite of {word} is {other}."),
            (f"Is the opposite of {word} {guess}?", "Yes, that is right." if guess == other else f"No, it is {other}."),
            (ask(rng, f"Is {member} {an} {asked}"), f"Yes, {member} is {an} {asked}." if member in KINDS[asked] else f"No, {member} is not {an} {asked}."),
            (f"Name three words for {kind}s.", ", ".join(KINDS[kind][:3]) + "."),
            (ask(rng, f"Which day comes after {DAYS[day]}"), f"{DAYS[(day + 1) % 7]} comes after {DAYS[day]}."),
            (ask(rng, f"Which day comes before {DAYS[day]}"), f"{DAYS[(day - 1) % 7]} comes before {DAYS[day]}."),
            (f"Make this polite: give me the {noun}.", f"Could you please give me the {noun}?"),
            (f"Rewrite it as a question: the {noun} is {word}.", f"Is the {noun} {word}?"),
            (f"Rewrite with the opposite word.\n\nThe {noun} is {word}.", f"The {noun} is {other}."),
            (f"Write the plural of {noun.removesuffix('s')}.", f"{noun.removesuffix('s')}s" if noun != "glass" else "glasses"),
        ]
    )


def story(rng: random.Random) -> Turn:
    """Two or three sentences about people of the valley."""
    name = rng.choice(list(PEOPLE))
    town_name, work, animal, food, _ = PEOPLE[name]
    day, place = rng.choice(DAYS), TOWNS[town_name][0]
    asked = rng.choice(["Tell me a story about {}.", "Write a short story about {}.", "Please write about {}."])
    ends = [f"In the evening they ate {food}.", f"Then {name} went home and slept.", f"It was a good {day}."]
    return asked.format(name), f"On {day} {name} the {work} walked with the {animal} {place}. {rng.choice(ends)}"


def unknown(rng: random.Random) -> Turn:
    """Questions nobody taught it: it says so instead of guessing."""
    word, other = rng.sample(WORDS, 2)
    return rng.choice(
        [
            (ask(rng, f"Why does the {word} have a {other}"), "I do not know that, sorry."),
            (ask(rng, f"Who made the first {word}"), "I do not know that, sorry."),
            (f"Explain the {word} of the {other}.", "I do not know enough about that."),
            (ask(rng, f"How can I set the {word} in the {other}"), "I am not sure. Please ask at the shop."),
            (ask(rng, f"Where do I find the {word} of my {other}"), "I am not sure. Please ask at the shop."),
        ]
    )


FAMILIES: list[tuple[Callable[[random.Random], Turn], int]] = [
    (small_talk, 5), (person, 7), (town, 4), (goods, 11), (fault, 4), (customer, 7), (sums, 9),
    (copying, 17), (reading, 8), (manual, 13), (table, 8), (language, 10), (story, 2), (unknown, 3),
]
SYSTEMS = [
    "You are a helpful assistant.",
    "You are Pip, a very small assistant.",
    "You work in a shop. Answer in one short sentence.",
    "Be kind and brief.",
    "You answer questions of customers.",
]


def chats(seed: int) -> Iterator[Chat]:
    """Chats without end, the same ones for the same seed: one to four turns, some with a system message."""
    rng = random.Random(seed)
    families, weights = zip(*FAMILIES, strict=True)
    while True:
        messages: Chat = []
        if rng.random() < 0.15:
            messages.append({"role": "system", "content": rng.choice(SYSTEMS)})
        for family in rng.choices(families, weights, k=rng.choice([1, 1, 1, 1, 1, 1, 2, 2, 3, 4])):
            said, answer = family(rng)
            messages.append({"role": "user", "content": said})
            messages.append({"role": "assistant", "content": answer})
        yield messages
