// Runs the site's ledger check under Node: {check, format, cases: [{ledger, key, holds}]} on standard
// input, and for each case `null` where it holds, else step and message.
"use strict";

const asked = JSON.parse(require("fs").readFileSync(0, "utf8"));
const check = require(asked.check);

async function main() {
  const lack = await check.missing();
  if (lack) throw new Error(lack);
  const found = [];
  for (const { ledger, key, holds } of asked.cases) {
    try {
      const verdict = await check.verify(new Uint8Array(Buffer.from(ledger, "base64")), asked.format, { key, holds });
      found.push({ step: null, message: null, ...verdict });
    } catch (error) {
      found.push({ step: error.step ?? error.name, message: error.message });
    }
  }
  const written = (asked.texts ?? []).map((text) => {
    try {
      return check.canonical(JSON.parse(text));
    } catch {
      return null;
    }
  });
  process.stdout.write(JSON.stringify({ found, written }));
}

main();
