"""The word lists that pocket's tasks are made of: countries, names, things, small Python functions.

Everything here was written for this project.  A country is
(name, capital, continent, currency, language); None where one word would not be honest.
"""

COUNTRIES = [
    ("France", "Paris", "Europe", "euro", "French"),
    ("Germany", "Berlin", "Europe", "euro", "German"),
    ("Italy", "Rome", "Europe", "euro", "Italian"),
    ("Spain", "Madrid", "Europe", "euro", "Spanish"),
    ("Portugal", "Lisbon", "Europe", "euro", "Portuguese"),
    ("Greece", "Athens", "Europe", "euro", "Greek"),
    ("Austria", "Vienna", "Europe", "euro", "German"),
    ("Ireland", "Dublin", "Europe", "euro", "English"),
    ("Finland", "Helsinki", "Europe", "euro", "Finnish"),
    ("Belgium", "Brussels", "Europe", "euro", None),
    ("Switzerland", "Bern", "Europe", "franc", None),
    ("Poland", "Warsaw", "Europe", "zloty", "Polish"),
    ("Hungary", "Budapest", "Europe", "forint", "Hungarian"),
    ("Romania", "Bucharest", "Europe", "leu", "Romanian"),
    ("Sweden", "Stockholm", "Europe", "krona", "Swedish"),
    ("Norway", "Oslo", "Europe", "krone", "Norwegian"),
    ("Denmark", "Copenhagen", "Europe", "krone", "Danish"),
    ("Iceland", "Reykjavik", "Europe", "krona", "Icelandic"),
    ("Ukraine", "Kyiv", "Europe", "hryvnia", "Ukrainian"),
    ("Serbia", "Belgrade", "Europe", "dinar", "Serbian"),
    ("Croatia", "Zagreb", "Europe", "euro", "Croatian"),
    ("Albania", "Tirana", "Europe", "lek", "Albanian"),
    ("Turkey", "Ankara", "Asia", "lira", "Turkish"),
    ("Japan", "Tokyo", "Asia", "yen", "Japanese"),
    ("China", "Beijing", "Asia", "yuan", "Chinese"),
    ("India", "New Delhi", "Asia", "rupee", "Hindi"),
    ("Pakistan", "Islamabad", "Asia", "rupee", "Urdu"),
    ("Nepal", "Kathmandu", "Asia", "rupee", "Nepali"),
    ("Bangladesh", "Dhaka", "Asia", "taka", "Bengali"),
    ("Thailand", "Bangkok", "Asia", "baht", "Thai"),
    ("Vietnam", "Hanoi", "Asia", "dong", "Vietnamese"),
    ("Cambodia", "Phnom Penh", "Asia", "riel", "Khmer"),
    ("Malaysia", "Kuala Lumpur", "Asia", "ringgit", "Malay"),
    ("Indonesia", "Jakarta", "Asia", "rupiah", "Indonesian"),
    ("Mongolia", "Ulaanbaatar", "Asia", "tugrik", "Mongolian"),
    ("South Korea", "Seoul", "Asia", "won", "Korean"),
    ("Iran", "Tehran", "Asia", "rial", "Persian"),
    ("Iraq", "Baghdad", "Asia", "dinar", "Arabic"),
    ("Jordan", "Amman", "Asia", "dinar", "Arabic"),
    ("Qatar", "Doha", "Asia", "riyal", "Arabic"),
    ("Oman", "Muscat", "Asia", "rial", "Arabic"),
    ("Egypt", "Cairo", "Africa", "pound", "Arabic"),
    ("Morocco", "Rabat", "Africa", "dirham", "Arabic"),
    ("Tunisia", "Tunis", "Africa", "dinar", "Arabic"),
    ("Kenya", "Nairobi", "Africa", "shilling", "Swahili"),
    ("Tanzania", "Dodoma", "Africa", "shilling", "Swahili"),
    ("Uganda", "Kampala", "Africa", "shilling", "English"),
    ("Ethiopia", "Addis Ababa", "Africa", "birr", "Amharic"),
    ("Ghana", "Accra", "Africa", "cedi", "English"),
    ("Nigeria", "Abuja", "Africa", "naira", "English"),
    ("Senegal", "Dakar", "Africa", "franc", "French"),
    ("Angola", "Luanda", "Africa", "kwanza", "Portuguese"),
    ("Zambia", "Lusaka", "Africa", "kwacha", "English"),
    ("Namibia", "Windhoek", "Africa", "dollar", "English"),
    ("Canada", "Ottawa", "North America", "dollar", "English"),
    ("Mexico", "Mexico City", "North America", "peso", "Spanish"),
    ("Cuba", "Havana", "North America", "peso", "Spanish"),
    ("Jamaica", "Kingston", "North America", "dollar", "English"),
    ("Brazil", "Brasilia", "South America", "real", "Portuguese"),
    ("Argentina", "Buenos Aires", "South America", "peso", "Spanish"),
    ("Chile", "Santiago", "South America", "peso", "Spanish"),
    ("Peru", "Lima", "South America", "sol", "Spanish"),
    ("Colombia", "Bogota", "South America", "peso", "Spanish"),
    ("Uruguay", "Montevideo", "South America", "peso", "Spanish"),
    ("Ecuador", "Quito", "South America", "dollar", "Spanish"),
    ("Australia", "Canberra", "Oceania", "dollar", "English"),
    ("New Zealand", "Wellington", "Oceania", "dollar", "English"),
    ("Fiji", "Suva", "Oceania", "dollar", "English"),
]

# Real places that pocket has never been told about, and places that do not exist.
OTHER_PLACES = [
    "Tuvalu", "Bhutan", "Malta", "Togo", "Laos", "Brunei", "Samoa", "Palau", "Andorra", "Monaco",
    "Benin", "Mali", "Chad", "Gabon", "Belize", "Haiti", "Panama", "Guyana", "Latvia", "Estonia",
    "Atlantis", "Zorbia", "Quandor", "Mirania", "Veloria", "Brantia", "Osturia", "Klandia", "Drevia",
    "Humboria", "Pelandor", "Sorvania", "Tarkovia", "Ulmeria", "Wexland", "Yorandia", "Fenwick",
    "Gorvania", "Istralia", "Lumeria", "Marsia", "Nordavia", "Oxandia", "Plutonia", "Rivonia",
]

# (name, subject pronoun, object pronoun, possessive)
SHE, HE = ("She", "her", "her"), ("He", "him", "his")
PEOPLE = [(name, *SHE) for name in (
    "Anna Maria Sara Lena Mia Nora Lucy Emma Clara Rosa Ines Julia Kate Amina Zoe Hana Eva Leila "
    "Olga Priya").split()]
PEOPLE += [(name, *HE) for name in (
    "Tom Ben Omar Paul Leo Max Sam Ivan Hugo Karl Luis Marco Noah Oscar Peter Ravi Tim Victor Yusuf "
    "Jack").split()]
NAMES = [person[0] for person in PEOPLE]

CITIES = [country[1] for country in COUNTRIES if " " not in country[1]][:40]
ITEMS = ("apples books chairs lamps pens cups shirts shoes balls eggs boxes keys bags plates "
         "hats").split()

WORDS = (
    "red blue green black white small big old new fast cat dog bird fish horse cow tree river house "
    "garden table chair window door book paper pen sun moon star rain snow wind bread milk water tea "
    "apple lemon salt stone wood gold iron boat train road hill sea lake night day week year king "
    "queen child friend music song game ball hat coat shoe hand foot head heart").split()

ANIMALS = "cat dog bird fish horse rabbit mouse fox duck frog".split()
THINGS = "key map ball kite book lamp coin bell box stone".split()
LOOKS = "red blue small tiny golden shiny strange green big little".split()
PLACES = "garden forest park river school kitchen market beach attic barn".split()

TOPICS = ("love time music history money physics art war peace space chemistry football politics "
          "religion medicine law poetry cooking chess fashion philosophy economics biology").split()

UNKNOWABLE = [
    "What is {topic}?", "Explain {topic}.", "Write a poem about {topic}.", "Tell me about {topic}.",
    "Why is {topic} important?", "Write an essay about {topic}.", "Tell me a joke about {topic}.",
    "Who is the greatest expert in {topic}?", "What do you think about {topic}?",
    "What is the meaning of {topic}?", "Translate {topic} into {tongue}.",
    "How do you say {topic} in {tongue}?", "Who was {name}?", "What time is it in {city}?",
    "What is the distance from {city} to {city2}?", "How do I get to {city}?",
    "Who is the mayor of {city}?", "What is the weather in {city} today?",
    "How many people live in {city}?", "When was {city} founded?",
    "What is the best hotel in {city}?", "Who is the president of {country}?",
    "How big is {country}?", "Who won the football match in {country} yesterday?",
    "What is the phone number of {name}?", "How tall is {name}?", "Where is {name} now?",
    "What did {name} eat for breakfast?", "When is the birthday of {name}?",
    "What is the favourite colour of {name}?", "Who invented the {thing}?",
    "How much does a {thing} cost?", "Who wrote the book about the {animal}?",
    "How old is the {animal}?", "Why does the {animal} sleep?", "How do I repair a {thing}?",
    "What will happen in {city} tomorrow?", "Which {thing} is the best?",
    "What is the capital of {place}?", "Where is {place}?", "Which continent is {place} in?",
    "What is the currency of {place}?", "What language do people speak in {place}?",
    "What is the capital of {place}?", "What is the capital city of {place}?",
]

# (what it does, its source): short enough for one canvas.
FUNCTIONS = [
    ("adds two numbers", "def add(a, b):\n    return a + b"),
    ("subtracts two numbers", "def subtract(a, b):\n    return a - b"),
    ("multiplies two numbers", "def multiply(a, b):\n    return a * b"),
    ("divides two numbers", "def divide(a, b):\n    return a / b"),
    ("squares a number", "def square(n):\n    return n * n"),
    ("doubles a number", "def double(n):\n    return 2 * n"),
    ("checks if a number is even", "def is_even(n):\n    return n % 2 == 0"),
    ("checks if a number is odd", "def is_odd(n):\n    return n % 2 == 1"),
    ("checks if a number is positive", "def is_positive(n):\n    return n > 0"),
    ("returns the absolute value of a number", "def absolute(n):\n    return abs(n)"),
    ("returns the larger of two numbers", "def larger(a, b):\n    return max(a, b)"),
    ("returns the smaller of two numbers", "def smaller(a, b):\n    return min(a, b)"),
    ("returns the sum of a list", "def total(items):\n    return sum(items)"),
    ("returns the length of a list", "def count(items):\n    return len(items)"),
    ("sorts a list", "def sort(items):\n    return sorted(items)"),
    ("reverses a list", "def reverse(items):\n    return items[::-1]"),
    ("returns the first item of a list", "def first(items):\n    return items[0]"),
    ("returns the last item of a list", "def last(items):\n    return items[-1]"),
    ("removes duplicates from a list", "def unique(items):\n    return list(set(items))"),
    ("returns the average of a list", "def average(items):\n    return sum(items) / len(items)"),
    ("converts text to upper case", "def upper(text):\n    return text.upper()"),
    ("converts text to lower case", "def lower(text):\n    return text.lower()"),
    ("splits text into words", "def words(text):\n    return text.split()"),
    ("checks if a text is a palindrome",
     "def is_palindrome(text):\n    return text == text[::-1]"),
    ("computes the factorial of a number",
     "def factorial(n):\n    return 1 if n < 2 else n * factorial(n - 1)"),
    ("greets a person", "def greet(name):\n    return \"Hello, \" + name"),
]

CAN_DO = ("I can name capitals, add and sort numbers, extract JSON, solve small Sudokus, "
          "write short Python functions and tell stories.")
WHO = "I am pocket, a very small diffusion language model."
CHAT = [
    ("Hello! How can I help you?", [
        "Hello", "Hi", "Hey", "Good morning", "Good evening", "Good day", "Hello there", "Hi there",
        "Hello pocket", "Hi pocket", "Hey there", "Greetings", "Good afternoon", "Hello you"]),
    (CAN_DO, [
        "What can you do?", "What are you able to do?", "How can you help me?", "What do you know?",
        "Tell me what you can do.", "What are your skills?", "What can I ask you?", "Help",
        "What is it that you can do?", "Show me what you can do.",
        "What kind of questions can you answer?"]),
    (WHO, [
        "Who are you?", "What are you?", "What is your name?", "Tell me about yourself.",
        "Introduce yourself.", "Are you a robot?", "Which model are you?", "What should I call you?"]),
    ("I am fine, thank you.", [
        "How are you?", "How are you today?", "How do you do?", "Are you well?", "How is it going?"]),
    ("You are welcome!", [
        "Thank you", "Thanks", "Many thanks", "Thanks a lot", "Thank you very much",
        "Thank you pocket"]),
    ("Goodbye!", ["Bye", "Goodbye", "See you", "Bye bye", "See you later", "Good night", "Bye pocket"]),
]
SYSTEM_PROMPTS = ["You are a helpful assistant.", "Answer briefly.", "You are pocket, a small model.",
                  "Be kind and honest."]
