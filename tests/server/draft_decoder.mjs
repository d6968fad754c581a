// The playground's decoder of draft frames (server/www/draft.js) under Node: the API's worked example,
// every form of an op, and what is refused. Prints one line per check that failed; exits with 1 then.
import { readFileSync } from "node:fs";

const source = readFileSync(process.argv[2], "utf8");
const { Draft, DraftError } = new Function(`${source}; return { Draft, DraftError };`)();

let failed = 0;
function same(what, seen, expected) {
  const [a, b] = [JSON.stringify(seen), JSON.stringify(expected)];
  if (a === b) return;
  failed++;
  console.log(`${what}: ${a}, expected ${b}`);
}
function refused(what, draft, frame) {
  const before = JSON.stringify(draft);
  try {
    draft.apply(frame);
  } catch (error) {
    if (error instanceof DraftError) return same(`${what}: left as it was`, JSON.stringify(draft), before);
    throw error;
  }
  failed++;
  console.log(`${what}: was taken`);
}
// As the API's page writes it: masks as a shade, end cells as nothing.
const shown = (draft) => draft.cells.map((cell) => cell.t ?? "░").join("");
const states = (draft) => draft.cells.map((cell) => cell.s).join("");
const full = (t, s, more = {}) => ({ frame: "full", seq: 0, step: 1, block: [0, t.length], len: t.length, settled: 0, t, s, ...more });
const patch = (seq, ops, more = {}) => ({ frame: "patch", seq, step: seq + 1, settled: 0, ops, ...more });
function played(...frames) {
  const draft = new Draft();
  for (const frame of frames) draft.apply(frame);
  return draft;
}

// ---- the worked example: frame, then text, states and the settled prefix after it ----
const example = [
  ['{"frame":"full","seq":0,"step":1,"block":[0,8],"len":8,"settled":0,"t":[null,null," in",null,null,"."],"s":"mmdmmd"}',
    "░░ in░░.░░", "mmdmmdmm", ""],
  ['{"frame":"patch","seq":1,"step":2,"settled":4,"ops":[[0,2,["Pa","ris"],"dd"],[3,2,[" the"," north"],"dg"]]}',
    "Paris in the north.░░", "ddddgdmm", "Paris in the"],
  ['{"frame":"patch","seq":2,"step":3,"settled":6,"ops":[[4,1,[" north"],"d"]]}',
    "Paris in the north.░░", "ddddddmm", "Paris in the north."],
  ['{"frame":"patch","seq":3,"step":4,"settled":6,"ops":[[6,2,["",""],"ee"]]}',
    "Paris in the north.", "ddddddee", "Paris in the north."],
];
const draft = new Draft();
for (const [frame, text, state, prefix] of example) {
  draft.apply(JSON.parse(frame));
  same("text", shown(draft), text);
  same("states", states(draft), state);
  same("settled", draft.cells.slice(0, draft.settled).map((cell) => cell.t).join(""), prefix);
}
same("step and block", [draft.step, draft.block], [4, [0, 8]]);
draft.apply({ frame: "end", seq: 4, step: 4, len: 6 });
same("end", [draft.ended, draft.length, draft.text()], [true, 6, "Paris in the north."]);
refused("a frame after the end", draft, full(["x"], "d", { seq: 5 }));

// ---- ops ----
same("a shorter replacement deletes", shown(played(full(["a", "b", "c"], "ddd"), patch(1, [[0, 2, ["x"], "d"]]))), "xc");
same("a longer one inserts", shown(played(full(["a", "b"], "dd"), patch(1, [[1, 0, ["x", "y"], "ff"]]))), "axyb");
same("ops apply in order", shown(played(full(["a", "b"], "dd"), patch(1, [[0, 1, [], ""], [0, 1, ["x"], "d"]]))), "x");
{
  const only = played(full(["a", "b", "c"], "fff", { c: [10, 20, 30], ids: [1, 2, 3] }), patch(1, [[0, 2, null, "dd"]]));
  same("null texts change states alone", only.cells.map((cell) => [cell.t, cell.s, cell.c, cell.id]),
    [["a", "d", 10, 1], ["b", "d", 20, 2], ["c", "f", 30, 3]]);
  only.apply(patch(2, [[2, 1, null, "d", [99]]]));
  same("and confidences where they are there", only.cells[2], { t: "c", s: "d", c: 99, id: 3 });
}
same("confidences and ids of an op", played(full([null], "m"), patch(1, [[0, 1, ["a"], "g", [42], [7]]])).cells,
  [{ t: "a", s: "g", c: 42, id: 7 }]);
same("a longer canvas is masked", states(played(full(["a"], "d"), patch(1, [[0, 1, ["b"], "d"]], { len: 3 }))), "dmm");
same("a shorter one is cut", shown(played(full(["a", "b", "c"], "ddd"), patch(1, [], { len: 1 }))), "a");
same("a moved block", played(full(["a"], "d"), patch(1, [], { block: [8, 16] })).block, [8, 16]);
same("full replaces everything", shown(played(full(["a", "b"], "dd"), full(["x"], "d", { seq: 1 }))), "x");
same("replay may begin at any full frame", shown(played(full(["a"], "d", { seq: 9 }), patch(10, [[0, 1, ["b"], "d"]]))), "b");

// ---- what is refused changes nothing ----
refused("a patch without a full frame", new Draft(), patch(0, [[0, 1, ["a"], "d"]]));
refused("a gap in seq", played(full(["a"], "d")), patch(2, []));
refused("an op behind the end", played(full(["a"], "d")), patch(1, [[0, 1, ["b"], "d"], [1, 1, ["c"], "d"]]));
refused("an op in front of the beginning", played(full(["a"], "d")), patch(1, [[-1, 1, ["b"], "d"]]));
refused("more texts than states", played(full(["a"], "d")), patch(1, [[0, 1, ["b"], "dd"]]));
refused("states of another length", played(full(["a"], "d")), patch(1, [[0, 1, null, "dd"]]));
refused("an unknown state", played(full(["a"], "d")), patch(1, [[0, 1, ["b"], "z"]]));
refused("a patch without ops", played(full(["a"], "d")), { frame: "patch", seq: 1, step: 2 });
refused("a text that is none", played(full(["a"], "d")), patch(1, [[0, 1, [7], "d"]]));
refused("more cells than the length", new Draft(), full(["a", "b"], "dd", { len: 1 }));
refused("a negative length", played(full(["a"], "d")), patch(1, [], { len: -1 }));
refused("an unknown frame", new Draft(), { frame: "whole", seq: 0 });

process.exitCode = failed ? 1 : 0;
