"""Questions and answers for pocket, drawn on the fly, and the split between training and evaluation.

A generator takes a `random.Random` and returns a Sample.  Nothing is stored: training draws samples
whose content is not held out, evaluation draws the others.  What is held out is decided by a hash of
the content alone (`held_out`), so the two can never meet, whatever the seeds.
"""

import hashlib
import re
from dataclasses import dataclass

import facts
import sudoku

HELD_OUT_ONE_IN = 10


@dataclass
class Sample:
    kind: str
    prompt: str
    answer: str
    checker: dict   # see checkers.py


# --- the split -------------------------------------------------------------------------------------

_NUMERIC = {"add", "subtract", "multiply", "sort", "sudoku"}
_PAYLOAD = {"copy", "reverse", "upper"}
_JSON_VALUES = set(facts.NAMES) | set(facts.CITIES) | set(facts.ITEMS)


def content_of(kind, prompt):
    """What must be new in an evaluation prompt, as text.

    Numbers: the operands or the list, however the question is worded; sums and lists without their
    order.  Sudoku: the puzzle.  Copying: the words.  JSON: the names, places and numbers.  All else:
    the words of the whole question, that is phrasing times content, without case and punctuation.
    """
    if kind in _NUMERIC:
        numbers = re.findall(r"\d+", prompt.replace("4x4", ""))
        if kind in ("add", "sort"):
            numbers.sort()
        return " ".join(numbers)
    if kind in _PAYLOAD:
        return prompt.rsplit(":", 1)[-1].strip().lower()
    words = re.findall(r"\w+", prompt)
    if kind == "json":
        return " ".join(sorted(word for word in words if word in _JSON_VALUES or word.isdigit()))
    return " ".join(words).lower()


def held_out(kind, prompt):
    """True when this prompt belongs to the evaluation: training never draws it."""
    digest = hashlib.sha256(f"{kind}|{content_of(kind, prompt)}".encode()).digest()
    return int.from_bytes(digest[:4], "little") % HELD_OUT_ONE_IN == 0


# --- wording ---------------------------------------------------------------------------------------

def _vary(rng, text):
    """The ways in which people type the same question: no question mark, no capital letter."""
    if text[-1] in "?." and rng.random() < 0.2:
        text = text[:-1]
    if rng.random() < 0.15:
        text = text[0].lower() + text[1:]
    return text


def _ask(rng, phrasings, **values):
    return _vary(rng, rng.choice(phrasings).format(**values))


def _ask_fact(rng, phrasings, **values):
    """Names of places are also typed without capitals."""
    text = _ask(rng, phrasings, **values)
    return text.lower() if rng.random() < 0.06 else text


def _exact(kind, prompt, answer):
    return Sample(kind, prompt, answer, {"type": "exact", "text": answer})


# --- facts -----------------------------------------------------------------------------------------

_CAPITAL = ["What is the capital of {c}?", "Which city is the capital of {c}?", "Capital of {c}?",
            "Name the capital of {c}.", "Tell me the capital of {c}.", "What is {c}'s capital?",
            "What is the capital city of {c}?", "The capital of {c} is which city?",
            "Please name the capital of {c}.", "Do you know the capital of {c}?"]
_COUNTRY = ["Which country has the capital {x}?", "{x} is the capital of which country?",
            "Of which country is {x} the capital?", "What country is {x} the capital of?",
            "In which country is {x}?", "Which country is {x} in?", "{x} is in which country?",
            "Where is {x}?", "Name the country whose capital is {x}."]
_CONTINENT = ["Which continent is {c} in?", "On which continent is {c}?", "What continent is {c} on?",
              "{c} is on which continent?", "Where in the world is {c}?", "Continent of {c}?",
              "Name the continent of {c}.", "Tell me the continent of {c}."]
_CURRENCY = ["What is the currency of {c}?", "Which currency does {c} use?", "Currency of {c}?",
             "What money do people use in {c}?", "How do people pay in {c}?",
             "Name the currency of {c}.", "What is {c}'s currency?", "Tell me the currency of {c}."]
_LANGUAGE = ["What language do people speak in {c}?", "Which language is spoken in {c}?",
             "What is the language of {c}?", "Language of {c}?", "What do people speak in {c}?",
             "Name the language of {c}.", "Tell me the language of {c}."]


def capital(rng):
    name, city, *_ = rng.choice(facts.COUNTRIES)
    return _exact("capital", _ask_fact(rng, _CAPITAL, c=name), f"The capital of {name} is {city}.")


def country(rng):
    name, city, *_ = rng.choice(facts.COUNTRIES)
    return _exact("country", _ask_fact(rng, _COUNTRY, x=city), f"{city} is the capital of {name}.")


def continent(rng):
    name, _, where, *_ = rng.choice(facts.COUNTRIES)
    return _exact("continent", _ask_fact(rng, _CONTINENT, c=name), f"{name} is in {where}.")


def currency(rng):
    name, _, _, money, _ = rng.choice(facts.COUNTRIES)
    return _exact("currency", _ask_fact(rng, _CURRENCY, c=name),
                  f"The currency of {name} is the {money}.")


def language(rng):
    name, *_, tongue = rng.choice([row for row in facts.COUNTRIES if row[4]])
    return _exact("language", _ask_fact(rng, _LANGUAGE, c=name), f"People in {name} speak {tongue}.")


# --- numbers ---------------------------------------------------------------------------------------

_ARITHMETIC = {
    "add": ("+", ["What is {a} + {b}?", "{a} + {b}", "{a} + {b} =", "Add {a} and {b}.",
                  "What is {a} plus {b}?", "Compute {a} + {b}.", "How much is {a} + {b}?"]),
    "subtract": ("-", ["What is {a} - {b}?", "{a} - {b}", "{a} - {b} =", "What is {a} minus {b}?",
                       "Compute {a} - {b}.", "How much is {a} - {b}?"]),
    "multiply": ("*", ["What is {a} * {b}?", "{a} * {b}", "{a} * {b} =", "Multiply {a} and {b}.",
                       "What is {a} times {b}?", "Compute {a} * {b}.", "How much is {a} * {b}?"]),
}


def _arithmetic(kind, rng, a, b, result):
    sign, phrasings = _ARITHMETIC[kind]
    return Sample(kind, _ask(rng, phrasings, a=a, b=b), f"{a} {sign} {b} = {result}.",
                  {"type": "number", "value": result})


def add(rng):
    a, b = rng.randint(1, 99), rng.randint(1, 99)
    return _arithmetic("add", rng, a, b, a + b)


def subtract(rng):
    b, a = sorted((rng.randint(1, 99), rng.randint(1, 99)))
    return _arithmetic("subtract", rng, a, b, a - b)


def multiply(rng):
    a, b = rng.randint(1, 12), rng.randint(1, 12)
    return _arithmetic("multiply", rng, a, b, a * b)


_SORT = ["Sort: {x}", "Sort these numbers: {x}", "Sort the numbers {x}", "Please sort {x}",
         "Put these numbers in order: {x}", "Order from small to large: {x}"]


def sort(rng):
    numbers = rng.sample(range(1, 100), rng.randint(3, 5))
    answer = " ".join(map(str, sorted(numbers)))
    return _exact("sort", _ask(rng, _SORT, x=" ".join(map(str, numbers))), answer)


_SUDOKU = ["Solve the 4x4 Sudoku: {x}", "Solve this Sudoku: {x}", "Sudoku: {x}",
           "Fill in the Sudoku: {x}"]


def solve_sudoku(rng):
    puzzle, grid = sudoku.draw(rng)
    question = _ask(rng, _SUDOKU, x=sudoku.rows(puzzle, " "))
    return Sample("sudoku", question, sudoku.rows(grid, "\n"),
                  {"type": "sudoku", "puzzle": sudoku.rows(puzzle, "")})


# --- text ------------------------------------------------------------------------------------------

_JSON = ["Extract JSON: {x}", "Write this as JSON: {x}", "Give me JSON for this: {x}", "To JSON: {x}",
         "Turn this into JSON: {x}"]
_PERSON = ["{n} is {a} years old and lives in {c}.", "{n}, {a}, lives in {c}.",
           "{n} from {c} is {a} years old.", "My friend {n} is {a} and lives in {c}.",
           "In {c} lives {n}, who is {a} years old."]
_ORDER = ["{n} bought {a} {i}.", "{n} wants {a} {i}.", "{n} ordered {a} {i} today.",
          "Please send {a} {i} to {n}."]


def extract_json(rng):
    name, number = rng.choice(facts.NAMES), rng.randint(2, 99)
    if rng.random() < 0.6:
        city = rng.choice(facts.CITIES)
        text = rng.choice(_PERSON).format(n=name, a=number, c=city)
        answer = f'{{"name": "{name}", "age": {number}, "city": "{city}"}}'
        value = {"name": name, "age": number, "city": city}
    else:
        item = rng.choice(facts.ITEMS)
        text = rng.choice(_ORDER).format(n=name, a=number, i=item)
        answer = f'{{"name": "{name}", "item": "{item}", "count": {number}}}'
        value = {"name": name, "item": item, "count": number}
    return Sample("json", rng.choice(_JSON).format(x=text), answer, {"type": "json", "value": value})


def _payload(kind, rng, phrasings, change):
    words = rng.sample(facts.WORDS, rng.randint(2, 5))
    return _exact(kind, _ask(rng, phrasings, x=" ".join(words)), change(words))


def copy(rng):
    return _payload("copy", rng, ["Copy: {x}", "Repeat after me: {x}", "Say this again: {x}",
                                  "Repeat: {x}", "Write exactly this: {x}"], " ".join)


def reverse(rng):
    return _payload("reverse", rng, ["Reverse: {x}", "Reverse the order of the words: {x}",
                                     "Say it backwards: {x}", "Write these words in reverse: {x}"],
                    lambda words: " ".join(reversed(words)))


def upper(rng):
    return _payload("upper", rng, ["Upper case: {x}", "Write in capital letters: {x}",
                                   "Make this upper case: {x}", "In capitals: {x}"],
                    lambda words: " ".join(words).upper())


_STORY = ["Tell me a story about {n} and a {t}.", "Write a short story about {n} and a {t}.",
          "A story about {n} and a {t}, please.", "Tell a story with {n} and a {t}.",
          "I want to hear about {n} and a {t}."]
_MIDDLES = ["{she} showed it to {her} friend {m}.", "{m} came to look at it.",
            "{she} took it home and told {m}.", "{she} was happy and called {m}."]
_ENDS = ["They played with it until the evening.", "In the end they gave it to {m}'s mother.",
         "They kept it and were friends forever.", "At night {n} dreamed of the {t}."]


def story(rng):
    name, she, _, her = rng.choice(facts.PEOPLE)
    friend = rng.choice([other for other in facts.NAMES if other != name])
    thing = rng.choice(facts.THINGS + facts.ANIMALS)
    verb = rng.choice(["found", "saw", "met" if thing in facts.ANIMALS else "lost"])
    look, place = rng.choice(facts.LOOKS), rng.choice(facts.PLACES)
    start = f"One day {name} {verb} a {look} {thing} in the {place}."
    values = {"n": name, "m": friend, "t": thing, "she": she, "her": her}
    text = " ".join([start, rng.choice(_MIDDLES).format(**values), rng.choice(_ENDS).format(**values)])
    return Sample("story", _ask(rng, _STORY, **values), text,
                  {"type": "prefix", "text": f"One day {name} "})


_PYTHON = ["Write a Python function that {x}.", "Python function that {x}",
           "Give me a Python function that {x}.", "Show me Python code that {x}.",
           "I need a Python function that {x}.", "Write code that {x}.",
           "How do I write a Python function that {x}?"]


def python(rng):
    what, source = rng.choice(facts.FUNCTIONS)
    return _exact("python", _ask(rng, _PYTHON, x=what), source)


# --- talk ------------------------------------------------------------------------------------------

def chat(rng):
    answer, prompts = rng.choice(facts.CHAT)
    prompt = rng.choice(prompts)
    if rng.random() < 0.15:
        prompt = rng.choice(["Hello, ", "Hi, ", "Please: ", "Well, "]) + prompt[0].lower() + prompt[1:]
    return _exact("chat", _vary(rng, prompt), answer)


def unknown(rng):
    city, city2 = rng.sample(facts.CITIES, 2)
    country_name, *_, tongue = rng.choice(facts.COUNTRIES)
    question = _ask(rng, facts.UNKNOWABLE, city=city, city2=city2, country=country_name,
                    tongue=tongue or "Latin", name=rng.choice(facts.NAMES),
                    thing=rng.choice(facts.THINGS), animal=rng.choice(facts.ANIMALS),
                    place=rng.choice(facts.OTHER_PLACES), topic=rng.choice(facts.TOPICS))
    return Sample("unknown", question, "I do not know.", {"type": "prefix", "text": "I do not know"})


KINDS = {
    "capital": capital, "country": country, "continent": continent, "currency": currency,
    "language": language, "add": add, "subtract": subtract, "multiply": multiply, "sort": sort,
    "sudoku": solve_sudoku, "json": extract_json, "copy": copy, "reverse": reverse, "upper": upper,
    "story": story, "python": python, "chat": chat, "unknown": unknown,
}


def draw(kind, rng, test=False):
    """A sample of `kind` from the training side of the split, or with `test` from the other."""
    while True:
        sample = KINDS[kind](rng)
        if held_out(kind, sample.prompt) == test:
            return sample
