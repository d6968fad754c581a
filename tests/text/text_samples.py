"""Seeded random strings that tokenizers get wrong: many scripts, emoji, combining marks, digits,
code, line ends, broken spaces, long runs, and text that looks like added tokens."""
import random

SENTENCES = [
    "The quick brown fox jumps over the lazy dog, doesn't it? I'LL say they've WON'T'VE.",
    "Zażółć gęślą jaźń. Příliš žluťoučký kůň úpěl ďábelské ódy.",
    "Falsches Üben von Xylophonmusik quält jeden größeren Zwerg. STRASSE, ẞ, ß, ﬁ, ﬆ, ſ.",
    "Voix ambiguë d'un cœur qui, au zéphyr, préfère les jattes de kiwis.",
    "Съешь же ещё этих мягких французских булок, да выпей чаю.",
    "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία. ᾂ ᾧ ΐ",
    "いろはにほへと ちりぬるを。カタカナ、ﾊﾝｶｸ、が と か\u3099、ハ\u309a",
    "天地玄黃，宇宙洪荒。日月盈昃，辰宿列張。中文測試《标点》！？",
    "키스의 고유조건은 입술끼리 만나야 하고. \u1112\u1161\u11ab\u1100\u1173\u11af",
    "نص حكيم له سر قاطع وذو شأن عظيم مكتوب على ثوب أخضر",
    "דג סקרן שט בים מאוכזב ולפתע מצא חברה. שָׁלוֹם",
    "ऋषियों को सताने वाले दुष्ट राक्षसों के राजा रावण का सर्वनाश। १२३ क्षत्रिय",
    "বাংলা ভাষা ১২৩ தமிழ் மொழி ௧௨௩ తెలుగు ಕನ್ನಡ മലയാളം සිංහල ગુજરાતી ਪੰਜਾਬੀ",
    "เป็นมนุษย์สุดประเสริฐเลิศคุณค่า ກາຂາ မြန်မာ ភាសាខ្មែរ བོད་ཡིག",
    "Tiếng Việt: đường, nghĩa, ngữ. Tie\u0302\u0301ng Vie\u0323\u0302t",
    "ქართული ენა, Հայերեն լեզու, አማርኛ, ᏣᎳᎩ, ᐃᓄᒃᑎᑐᑦ, ᚠᚢᚦ, 𐌰𐌱𐌲, 𓀀𓁐, 𝔘𝔫𝔦, 𝟘𝟙𝟚, Ⅷ ½ ² ₃ ①",
    "Pijamalı hasta yağız şoföre çabucak güvendi. İSTANBUL ISPARTA ıi",
]
CODE = [
    "def f(x):\n    return {k: v**2 for k, v in x.items() if v != 0}\n",
    "int main(void) { printf(\"%d\\n\", 0x1F << 3); return 0; }\r\n",
    "\tSELECT a.*, COUNT(*) FROM t AS a WHERE a.id >= 10 -- note\n",
    "for (let i=0;i<n;i++){ a[i] ??= `${b}\\u00e9`; }",
    "<div class=\"x\">&nbsp;</div>\n\n\n# Title\n- [ ] item\n```js\n```",
    "https://example.org/a_b?c=1&d=%20#frag user@mail.example 192.168.0.1 2024-05-06T07:08:09Z",
    "x = 1_000_000.5e-10 + 3.14159 * 007; // $9.99 €5 £3 50% #1",
    "\\begin{align} \\alpha_{i}^{2} &= \\frac{1}{2} \\\\ \\end{align}",
]
EMOJI = ["🙂", "👩🏽\u200d💻", "👨\u200d👩\u200d👧\u200d👦", "🏳️\u200d🌈", "🇩🇪🇯🇵", "❤️", "1️⃣", "👍🏿", "☺", "🫠", "©️"]
SPACES = [" ", "  ", "    ", "\t", "\n", "\r\n", "\n\n", "\r", "\u00a0", "\u180e", "\u2028", "\u2029",
          "\u3000", "\u2003", "\u200b", "\ufeff", "\x85", "\x0b", "\x0c", "\x1c", " \n ", "\t \n",
          " \r\n  ", "   \n\n  "]
CONTRACTIONS = ["'s", "'S", "'t", "'T", "'re", "'RE", "'ve", "'m", "'ll", "'LL", "'lL", "'d", "'\u017f",
                "''", "'x", " 's", "don't", "DON'T", "\u2019s", "I'd've"]
MARKS = ["\u0301", "\u0300", "\u0323", "\u0308", "\u0327", "\u0345", "\u0f71\u0f80", "\u05b0", "\u3099",
         "\u20dd", "\ufe0f", "\u200d", "\u0338", "\u031b"]
BLOCKS = [(0x20, 0x7e), (0x00, 0x1f), (0x7f, 0x17f), (0x180, 0x24f), (0x370, 0x3ff), (0x400, 0x4ff),
          (0x590, 0x5f4), (0x600, 0x6ff), (0x900, 0x97f), (0xe00, 0xe5b), (0x1100, 0x11ff),
          (0x1e00, 0x1eff), (0x1f00, 0x1fff), (0x2000, 0x206f), (0x2070, 0x209c), (0x20a0, 0x20bf),
          (0x2100, 0x218b), (0x2190, 0x23ff), (0x2460, 0x27bf), (0x3000, 0x30ff), (0x4e00, 0x9fff),
          (0xac00, 0xd7a3), (0xf900, 0xfad9), (0xfb00, 0xfdff), (0xfe30, 0xffef),
          (0x10330, 0x1034a), (0x1d400, 0x1d7ff), (0x1f300, 0x1f64f), (0x20000, 0x2a6d6),
          (0x2f800, 0x2fa1d), (0xe000, 0xe0ff), (0xfff0, 0xffff), (0x10ff00, 0x10ffff)]
LOOK_ALIKES = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>", "<tool_call>",
               "<|endoftext|", "|endoftext|>", "<|im_start|", "<think", "<<think>>", "<|im_<|im_end|>",
               "<|IM_START|>", "< |im_end|>", "<|mdm_mask|>", "<|fim_pad|>x", "x<|file_sep|>",
               "<|endoftext|><|endoftext|>", "[MASK]", "</s>", "<|"]


def piece(rng):
    kind = rng.randrange(11)
    if kind < 2:
        sentence = rng.choice(SENTENCES)
        start = rng.randrange(len(sentence))
        return sentence[start:start + rng.randint(1, 30)]
    if kind == 2:
        snippet = rng.choice(CODE)
        start = rng.randrange(len(snippet))
        return snippet[start:start + rng.randint(1, 30)]
    if kind == 3:
        return "".join(rng.choice(EMOJI) for _ in range(rng.randint(1, 3)))
    if kind == 4:
        return "".join(rng.choice(SPACES) for _ in range(rng.randint(1, 4)))
    if kind == 5:
        return rng.choice(CONTRACTIONS)
    if kind == 6:
        base = rng.choice("aeoAEOυαकか한<'x1 ")
        return base + "".join(rng.choice(MARKS) for _ in range(rng.randint(1, 5)))
    if kind == 7:
        low, high = rng.choice(BLOCKS)
        return "".join(chr(rng.randint(low, high)) for _ in range(rng.randint(1, 6)))
    if kind == 8:
        return "".join(rng.choice("0123456789٣५２Ⅷ½") for _ in range(rng.randint(1, 8)))
    if kind == 9:
        return rng.choice(LOOK_ALIKES)
    return rng.choice("aZ \n-=.!0é中🙂\u3000") * rng.choice([2, 3, 5, 8, 17, 64])


def texts(seed, count):
    rng = random.Random(seed)
    return ["".join(piece(rng) for _ in range(rng.randint(1, 8))) for _ in range(count)]


def mixed(size):
    """About `size` bytes of ordinary prose and code in many languages."""
    rng, parts, length = random.Random(7), [], 0
    while length < size:
        parts.append(rng.choice(SENTENCES[:4] * 6 + SENTENCES + CODE * 2) + rng.choice([" ", "\n", "\n\n"]))
        length += len(parts[-1].encode())
    return "".join(parts)
