// Draft frames of a choice -> its cells. Knows nothing of the page; tests run it under Node.
//
// A cell is {t, s, c, id}: text or null, state (one character of STATES), confidence 0..100 or null,
// token id or null.

const STATES = {
  m: "masked",
  g: "guessed",
  f: "committed, may change",
  d: "committed",
  p: "pinned",
  e: "end",
};

class DraftError extends Error {}

class Draft {
  cells = [];
  seq = -1;
  step = 0;
  settled = 0; // length of the prefix that cannot change any more
  block = null; // [start, end) of the active block
  ended = false;
  length = null; // of the answer in cells, from the end frame

  // Applies the next frame. Throws DraftError where it does not follow or is malformed, and has then
  // changed nothing.
  apply(frame) {
    if (frame.seq !== this.seq + 1 && !(frame.frame === "full" && this.seq < 0))
      throw new DraftError(`frame ${frame.seq} after ${this.seq}`);
    if (this.ended) throw new DraftError("a frame after the end");
    if (frame.frame === "full") this.cells = fullCells(frame);
    else if (frame.frame === "patch") this.cells = patchedCells(this.cells, frame);
    else if (frame.frame === "end") this.end(frame);
    else throw new DraftError(`unknown frame ${frame.frame}`);
    this.seq = frame.seq;
    this.step = frame.step ?? this.step;
    this.settled = frame.settled ?? this.settled;
    this.block = frame.block ?? this.block;
  }

  end(frame) {
    if (!isCount(frame.len)) throw new DraftError("an end without length");
    this.length = frame.len;
    this.ended = true;
  }

  // What the cells say together; end cells and masks say nothing.
  text() {
    return this.cells.map((cell) => cell.t ?? "").join("");
  }
}

const maskedCell = () => ({ t: null, s: "m", c: null, id: null });
const isCount = (value) => Number.isInteger(value) && value >= 0;

// Cells of parallel members; `c` and `ids` may be absent or shorter.
function makeCells(texts, states, confidences, ids) {
  if (!Array.isArray(texts) || typeof states !== "string" || texts.length !== states.length)
    throw new DraftError("texts and states differ in length");
  return texts.map((t, i) => {
    if (!(states[i] in STATES) || (t !== null && typeof t !== "string"))
      throw new DraftError(`cell ${i} is no cell`);
    return { t, s: states[i], c: confidences?.[i] ?? null, id: ids?.[i] ?? null };
  });
}

// Grown cells are masked.
function resized(cells, length) {
  if (!isCount(length)) throw new DraftError("a length that is none");
  const out = cells.slice(0, length);
  while (out.length < length) out.push(maskedCell());
  return out;
}

function fullCells(frame) {
  const cells = makeCells(frame.t, frame.s, frame.c, frame.ids);
  if (!isCount(frame.len) || cells.length > frame.len)
    throw new DraftError("more cells than the frame's length");
  return resized(cells, frame.len);
}

// Ops apply in order, each to what the one before left.
function patchedCells(cells, frame) {
  const out = cells.slice();
  if (!Array.isArray(frame.ops)) throw new DraftError("a patch without ops");
  for (const [start, del, texts, states, confidences, ids] of frame.ops) {
    if (!isCount(start) || !isCount(del) || start + del > out.length)
      throw new DraftError(`an op outside the draft: ${start}, ${del}`);
    if (texts === null) restate(out, start, del, states, confidences);
    else out.splice(start, del, ...makeCells(texts, states, confidences, ids));
  }
  return frame.len === undefined ? out : resized(out, frame.len);
}

function restate(out, start, del, states, confidences) {
  if (typeof states !== "string" || states.length !== del)
    throw new DraftError("states of another length");
  for (let i = 0; i < del; i++) {
    if (!(states[i] in STATES)) throw new DraftError(`unknown state ${states[i]}`);
    const old = out[start + i];
    out[start + i] = { ...old, s: states[i], c: confidences?.[i] ?? old.c };
  }
}
