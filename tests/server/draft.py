"""A reader of draft streams, written from the description of the frames in docs/api.md alone, that
checks every promise on its way. No test lives here."""
import unmask_server

STATES = "mgfdpe"  # masked, guessed, filled, done, pinned, end
UNKNOWN = "\ufffd"  # bytes that are no character yet
PATCHES_MAX = 64  # in a row


class Cell:
    def __init__(self, text=None, state="m", confidence=None, token=None):
        self.text, self.state, self.confidence, self.token = text, state, confidence, token

    def shown(self):
        return self.text, self.state


class Draft:
    """The draft of one choice: frames go in, cells come out."""

    def __init__(self, options=None, lead="", tail=""):
        self.options, self.lead, self.tail = options or {}, lead, tail
        self.cells, self.frames, self.ended = [], [], None
        self.step = self.settled = self.patches = 0
        self.content = ""  # of all deltas so far
        self.drafts = {}  # by step, the last one of each: [(text, state)]
        self.kept = []  # what the settled prefix said at each frame
        self.steps_of_blocks = {}

    def text(self):
        """What it says, without end cells; masks are left out."""
        return "".join(cell.text or "" for cell in self.cells if cell.state != "e")

    def prefix(self):
        return "".join(cell.text for cell in self.cells[:self.settled])

    # ---- frames ----

    def apply(self, frame):
        assert self.ended is None and frame["seq"] == len(self.frames), frame
        assert isinstance(frame["step"], int) and frame["step"] >= max(self.step, 0), frame
        self.frames.append(frame)
        self.step = frame["step"]
        if frame["frame"] == "end":
            assert set(frame) - {"gaps"} == {"frame", "seq", "step", "len"}, frame
            self.ended = frame
            return
        before = [cell.shown() for cell in self.cells]
        {"full": self.full, "patch": self.patch}[frame["frame"]](frame)
        self.check(before, frame)
        self.drafts[self.step] = [cell.shown() for cell in self.cells]

    def full(self, frame):
        assert set(frame) >= {"frame", "seq", "step", "block", "len", "settled", "t", "s"}, frame
        members = {"c"} if self.options.get("confidence") else set()
        members |= {"ids"} if self.options.get("token_ids") else set()
        assert set(frame) - {"frame", "seq", "step", "block", "len", "settled", "t", "s"} == members
        rest = [frame.get("c"), frame["ids"]] if "ids" in frame else [frame[name] for name in members]
        cells = self.read(frame["t"], frame["s"], *rest)
        assert len(cells) <= frame["len"]
        self.cells = cells + [Cell() for _ in range(frame["len"] - len(cells))]
        self.block, self.patches = frame["block"], 0

    def patch(self, frame):
        assert len(self.frames) > 1, "the first frame is full"
        assert self.options.get("frames") != "full"
        assert set(frame) - {"len", "block"} == {"frame", "seq", "step", "settled", "ops"}, frame
        for start, count, text, states, *rest in frame["ops"]:
            assert 0 <= start and 0 <= count and start + count <= len(self.cells)
            if text is None:
                assert len(states) == count
                for cell, state in zip(self.cells[start:start + count], states):
                    cell.state = state
            else:
                self.cells[start:start + count] = self.read(text, states, *rest)
        length = frame.get("len", len(self.cells))
        self.cells = self.cells[:length] + [Cell() for _ in range(length - len(self.cells))]
        self.block = frame.get("block", self.block)
        self.patches += 1
        assert self.patches <= PATCHES_MAX

    def read(self, texts, states, *rest):
        """Cells of a frame or an op: texts, states, then confidences (null before ids) and ids."""
        asked = [bool(self.options.get(name)) for name in ("confidence", "token_ids")]
        assert len(texts) == len(states) and len(rest) == (2 if asked[1] else asked[0])
        confidences, tokens = [*rest, None, None][:2]
        assert [confidences is not None, tokens is not None] == asked
        confidences, tokens = (values or [None] * len(texts) for values in (confidences, tokens))
        assert len(confidences) == len(tokens) == len(texts)
        if asked[0]:
            assert all(isinstance(c, int) and 0 <= c <= 100 for c in confidences), confidences
        return [Cell(*values) for values in zip(texts, states, confidences, tokens)]

    # ---- what must hold after each ----

    def check(self, before, frame):
        for cell in self.cells:
            assert cell.state in STATES
            assert (cell.text is None) == (cell.state == "m"), frame
            assert cell.state != "e" or cell.text == ""
            assert cell.state != "g" or self.options.get("guess")
            if self.options.get("token_ids") and cell.state != "e":
                assert (cell.token is None) == (cell.state == "m"), frame
        begin, end = self.block
        assert 0 <= begin <= end <= len(self.cells), frame
        assert self.settled <= frame["settled"] <= len(self.cells)
        self.settled = frame["settled"]
        assert all(cell.state in "fdp" for cell in self.cells[:self.settled]), frame
        if "e" in (states := "".join(cell.state for cell in self.cells)) and "p" not in states:
            assert set(states[states.index("e"):]) <= set("emg"), frame
        for (text, state), cell in zip(before, self.cells):
            if state in "dp":
                assert cell.state == state and cell.text == text, frame
        self.kept.append(self.prefix())
        self.steps_of_blocks.setdefault(tuple(self.block), []).append(self.step)

    def after_chunk(self):
        """The settled prefix is ahead of the deltas, if anything."""
        if self.ended is None and self.frames:
            said = self.lead + self.prefix() + self.tail
            assert said.startswith(self.content), (said, self.content)


def without_tail(text):
    return text.rstrip(UNKNOWN)


def watch(chunks, options=None, count=1, lead="", tail=""):
    """The drafts of a stream's choices, read to their ends; every frame of a chat or completion. `lead`
    and `tail` are text around the canvas that is part of the answer."""
    drafts = [Draft(options, lead, tail) for _ in range(count)]
    for chunk in chunks:
        for choice in chunk["choices"]:
            draft = drafts[choice["index"]]
            delta = choice["delta"].get("content", "") if "delta" in choice else choice["text"]
            draft.content += delta
            frame = choice.get("diffusion")
            if frame is None:
                continue
            draft.apply(frame)
            assert (frame["frame"] == "end") == (choice["finish_reason"] is not None), choice
            draft.after_chunk()
    for draft in drafts:
        assert draft.ended, "no end frame"
        last = draft.text()
        assert all(last.startswith(without_tail(text)) for text in draft.kept)
        count = sum(cell.state in "fdp" for cell in draft.cells)
        assert draft.settled <= draft.ended["len"] <= count
        if all(cell.state in "dpe" for cell in draft.cells):  # a stop string ends it before
            assert draft.ended["len"] == count
    return drafts


def plain(chunks):
    """The chunks that are left for a client that does not know of drafts."""
    left = []
    for chunk in chunks:
        choices = [{name: value for name, value in choice.items() if name != "diffusion"}
                   for choice in chunk["choices"]]
        said = [choice.get("delta") or choice.get("text") or choice["finish_reason"] for choice in choices]
        if any(said) or not choices:
            left.append({**chunk, "choices": choices})
    return left


def drafted(server, path, body, options=None, lead="", tail=""):
    """(chunks, drafts) of a request streamed with drafts."""
    options = {"interval_ms": 0, **(options or {})}
    diffusion = {**body.get("diffusion", {}), "stream": "draft", "draft": options}
    chunks = unmask_server.events(server.stream(path, {**body, "diffusion": diffusion})[1])
    prompts = body.get("prompt")
    prompts = len(prompts) if isinstance(prompts, list) and isinstance(prompts[0], (str, list)) else 1
    return chunks, watch(chunks, options, prompts * body.get("n", 1), lead, tail)
