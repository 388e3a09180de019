// Page "check this board": verifies the ledger that it contains, or a copy that is chosen.
"use strict";

const page = document.getElementById("check");
const verdict = document.getElementById("verdict");
const list = document.getElementById("steps");
const file = document.getElementById("file");
const holds = document.getElementById("holds");
const format = JSON.parse(page.dataset.format);
const embedded = document.getElementById("ledger");
let running = 0; // the newest check; an older one that is still going says nothing more

function bytesOf(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

async function chosen() {
  if (file.files.length) return new Uint8Array(await file.files[0].arrayBuffer());
  return embedded ? bytesOf(embedded.content.textContent.trim()) : null;
}

function say(tone, heading, text) {
  const strong = document.createElement("strong");
  strong.textContent = heading;
  verdict.className = `note ${tone}`;
  verdict.replaceChildren(strong, ` ${text}`);
}

function show(counts, failed) {
  const items = Object.entries(LedgerCheck.STEPS).map(([step, words]) => {
    const item = document.createElement("li");
    const number = counts?.[step] ?? 0;
    const mark = step === failed ? "✗ fails" : counts ? (number ? `✓ ${number} checked` : "– nothing to check") : "– not known";
    item.textContent = `${words}: ${mark}.`;
    return item;
  });
  list.replaceChildren(...items);
}

async function check() {
  const mine = (running += 1);
  const lack = await LedgerCheck.missing();
  if (lack) return say("warn", "Not checked.", lack);
  const bytes = await chosen();
  if (mine !== running) return undefined;
  if (!bytes) return say("", "Not checked yet.", "The ledger is too long for this page: save ledger.jsonl and choose it below.");
  let shown = 0;
  const progress = (done, all) => {
    if (mine !== running || done - shown < 1e6) return;
    shown = done;
    say("", "Checking…", `${Math.floor((100 * done) / all)} % of ${all} bytes`);
  };
  try {
    const noted = holds.value.trim().toLowerCase();
    const found = await LedgerCheck.verify(bytes, format, { key: page.dataset.key, holds: noted, progress });
    if (mine !== running) return undefined;
    show(found.counts, null);
    const text = `${found.entries} entries, reports that count: ${found.reports}, the last entry of ${found.time} with the digest ${found.head}; signed by the key ${found.keys.at(-1)}.`;
    return say("good", "The ledger holds:", text);
  } catch (error) {
    if (mine !== running) return undefined;
    show(null, error.step);
    return say("warn", "The ledger does not hold.", `${error.message}. Do not trust this board: ask the organiser.`);
  }
}

document.getElementById("run").addEventListener("click", check);
file.addEventListener("change", check);
check();
