// Verifies a ledger: canonical bytes (RFC 8785), chain of digests, ed25519 signatures. No dependency,
// no network: the same file runs in a browser and under Node.
"use strict";

const LedgerCheck = (() => {
  const NOTHING_BEFORE = "0".repeat(64);
  const SPKI = "302a300506032b6570032100"; // DER of an ed25519 public key, up to its 32 bytes
  const PEM = /^-----BEGIN PUBLIC KEY-----\n([A-Za-z0-9+/]{59}=)\n-----END PUBLIC KEY-----\n$/;
  const INSTANT = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/;
  const DIGEST = /^[0-9a-f]{64}$/;
  const AT_ONCE = 256; // checks that may be under way
  // Points of small order, without the bit of their sign: they verify signatures that nobody made.
  const WEAK = new Set([
    "0".repeat(64),
    "01".padEnd(64, "0"),
    "ec".padEnd(62, "f") + "7f",
    "ed".padEnd(62, "f") + "7f",
    "ee".padEnd(62, "f") + "7f",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
  ]);
  const STEPS = {
    bytes: "Every line is canonical JSON, so that no byte can change unnoticed",
    chain: "Every entry follows the one before it, in number, digest and time",
    digests: "Every entry has the SHA-256 that it states",
    signatures: "Every entry is signed by the key whose turn it is",
    reports: "Every report is signed, and about the files that it judges",
    retractions: "Every retraction is of a report that counted",
    rescorings: "Every report that was scored anew takes the place of one that counted, and of what was scored there",
    rotations: "Every new key has signed that it takes over, and is used once",
    key: "The key that is published with this site signed it",
    head: "It contains the entry that is asked for",
  };
  const encoder = new TextEncoder();
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  const subtle = globalThis.crypto?.subtle;

  class Invalid extends Error {
    constructor(step, number, why) {
      super(number === null ? why : `Entry ${number}: ${why}`);
      Object.assign(this, { step, number });
    }
  }

  function canonical(value) {
    if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
    if (value !== null && typeof value === "object") {
      const pairs = Object.keys(value).sort().map((key) => `${canonical(key)}:${canonical(value[key])}`);
      return `{${pairs.join(",")}}`;
    }
    if (typeof value === "string" && /\p{Surrogate}/u.test(value)) throw new RangeError("half a character");
    if (typeof value === "number") {
      const size = Math.abs(value);
      if (!Number.isFinite(value) || (size >= 2 ** 53 && size < 1e21)) throw new RangeError("a number");
    }
    return JSON.stringify(value);
  }

  const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  const sha256 = async (bytes) => hex(new Uint8Array(await subtle.digest("SHA-256", bytes)));

  // Base64 in its one canonical spelling; null for any other.
  function decode(text) {
    try {
      const raw = atob(text);
      return btoa(raw) === text ? Uint8Array.from(raw, (character) => character.charCodeAt(0)) : null;
    } catch {
      return null;
    }
  }

  // What DSSE signs: the type and the bytes, each with its length.
  function signed(type, payload) {
    const start = encoder.encode(`DSSEv1 ${encoder.encode(type).length} ${type} ${payload.length} `);
    const all = new Uint8Array(start.length + payload.length);
    all.set(start);
    all.set(payload, start.length);
    return all;
  }

  // The key of a PEM text, with its fingerprint; null where it is none, or weak.
  async function readKey(pem) {
    const der = decode(PEM.exec(pem)?.[1] ?? "?");
    const text = der && hex(der);
    if (!text?.startsWith(SPKI) || text.length !== SPKI.length + 64) return null;
    const point = text.slice(SPKI.length);
    const last = parseInt(point.slice(62), 16) & 0x7f;
    if (WEAK.has(point.slice(0, 62) + last.toString(16).padStart(2, "0"))) return null;
    const key = await subtle.importKey("spki", der, "Ed25519", false, ["verify"]);
    return { id: await sha256(der), key };
  }

  async function isValid(signer, signature, type, payload) {
    const raw = decode(signature.sig);
    if (raw === null || signature.keyid !== signer.id) return false;
    return subtle.verify("Ed25519", signer.key, raw, signed(type, payload));
  }

  // RFC 8032, test 1: a browser that says no to it has no ed25519.
  async function missing() {
    if (!subtle) {
      return "This page was opened over plain http, where browsers offer no cryptography: open it over https, or save it and open the file.";
    }
    try {
      const point = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
      const tag = "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b";
      const raw = (text) => Uint8Array.from(text.match(/../g), (pair) => parseInt(pair, 16));
      const key = await subtle.importKey("raw", raw(point), "Ed25519", false, ["verify"]);
      if (await subtle.verify("Ed25519", key, raw(tag), new Uint8Array())) return null;
    } catch {
      // it does not know the name
    }
    return "This browser cannot check ed25519 signatures: use a newer one, or `busbench verify`.";
  }

  function* linesOf(bytes) {
    if (bytes.length === 0) throw new Invalid("bytes", null, "The ledger is empty");
    let start = 0;
    for (let number = 0; start < bytes.length; number += 1) {
      const end = bytes.indexOf(10, start);
      if (end < 0) throw new Invalid("bytes", number, "it ends in the middle");
      yield [number, bytes.subarray(start, end)];
      start = end + 1;
    }
  }

  function parse(line, number, format) {
    let text, entry, again;
    try {
      text = decoder.decode(line);
      entry = JSON.parse(text);
      again = canonical(entry);
    } catch {
      throw new Invalid("bytes", number, "it is no JSON that RFC 8785 can write");
    }
    if (again !== text) throw new Invalid("bytes", number, "it is not in canonical form");
    const fields = Object.hasOwn(format.kinds, entry?.kind) ? format.kinds[entry.kind] : null;
    const isRight = entry?.schema === format.schema && fields !== null && (number === 0) === (entry.kind === "genesis");
    if (!isRight || Object.keys(entry).sort().join() !== fields.join()) {
      throw new Invalid("bytes", number, "it is of no kind that this page knows");
    }
    return entry;
  }

  function without(entry, ...names) {
    const kept = Object.entries(entry).filter(([name]) => !names.includes(name));
    return encoder.encode(canonical(Object.fromEntries(kept)));
  }

  function isSignature(value) {
    const names = value !== null && typeof value === "object" ? Object.keys(value).sort().join() : "";
    return names === "keyid,sig" && typeof value.keyid === "string" && typeof value.sig === "string";
  }

  // The statement of an envelope whose form is right; else null.
  function statementOf(envelope, format) {
    const names = envelope !== null && typeof envelope === "object" ? Object.keys(envelope).sort().join() : "";
    const payload = names === "payload,payloadType,signatures" ? decode(String(envelope.payload)) : null;
    const signatures = Array.isArray(envelope?.signatures) ? envelope.signatures : [];
    if (payload === null || envelope.payloadType !== format.payloadType) return null;
    if (signatures.length !== 1 || !isSignature(signatures[0])) return null;
    try {
      return { payload, signature: signatures[0], statement: JSON.parse(decoder.decode(payload)) };
    } catch {
      return null;
    }
  }

  // The files that a report says it judges.
  function judged({ models, provenance }) {
    if (provenance.image != null) return [{ name: "image", digest: { sha256: provenance.image.slice(-64) } }];
    return models.map((model) => ({ name: `fold-${model.fold ?? "all"}.onnx`, digest: { sha256: model.sha256 } }));
  }

  function isAboutItsFiles(statement, format) {
    try {
      const named = statement.predicateType === format.predicateType;
      return named && canonical(statement.subject) === canonical(judged(statement.predicate));
    } catch {
      return false;
    }
  }

  // What scoring anew may not change of a report: all but the scores, and what computed them.
  function originOf({ schema, scores, status, provenance, ...rest }) {
    const { score, ...evaluator } = provenance.evaluator;
    return encoder.encode(canonical({ ...rest, provenance: { ...provenance, evaluator } }));
  }

  // Checks under way, whose results are taken in their order: the first that fails is the one named.
  class Queue {
    constructor() {
      this.checks = [];
    }

    add(step, number, why, check) {
      this.checks.push({ error: new Invalid(step, number, why), check: check.catch(() => false) });
    }

    async settle(left) {
      const done = this.checks.splice(0, Math.max(0, this.checks.length - left));
      for (const { error, check } of done) if (!(await check)) throw error;
    }
  }

  class Chain {
    constructor(format) {
      Object.assign(this, { format, queue: new Queue(), signers: [], last: null });
      this.origins = new Map(); // digest of a report's entry -> SHA-256 of what was scored
      this.counting = new Set(); // digests of the entries of reports that count
      this.waiting = new Map(); // of one that was scored anew, until a rescoring -> of that before it
      this.digests = new Set();
      this.counts = Object.fromEntries(Object.keys(STEPS).map((step) => [step, 0]));
    }

    async take(number, line) {
      const entry = parse(line, number, this.format);
      this.follow(number, entry);
      if (number === 0) await this.turn(entry.public_key, 0, "signatures");
      const signer = this.signers.at(-1);
      if (!isSignature(entry.signature) || entry.signature.keyid !== signer.id) {
        throw new Invalid("signatures", number, "it is signed by another key");
      }
      const body = without(entry, "digest", "signature");
      this.queue.add("digests", number, "it was changed after it was written",
        sha256(body).then((found) => found === entry.digest));
      this.queue.add("signatures", number, "its signature is not valid",
        isValid(signer, entry.signature, this.format.entryType, body));
      for (const step of ["bytes", "chain", "digests", "signatures"]) this.counts[step] += 1;
      if (entry.kind === "report" || entry.kind === "rescored") this.report(number, entry, signer);
      if (entry.kind === "rescoring") this.rescoring(number, entry);
      if (entry.kind === "retraction") this.retraction(number, entry);
      if (entry.kind === "rotation") await this.rotation(number, entry);
      this.digests.add(entry.digest);
      this.last = entry;
      await this.queue.settle(AT_ONCE);
    }

    follow(number, entry) {
      const previous = this.last?.digest ?? NOTHING_BEFORE;
      const isTime = INSTANT.test(entry.recorded) && !Number.isNaN(Date.parse(entry.recorded));
      const isNext = entry.number === number && entry.previous === previous && DIGEST.test(entry.digest);
      if (!isNext) throw new Invalid("chain", number, "it does not follow the entry before it");
      if (!isTime || (this.last && entry.recorded < this.last.recorded)) {
        throw new Invalid("chain", number, "its time is none, or before that of the entry before it");
      }
    }

    async turn(pem, number, step) {
      const key = typeof pem === "string" ? await readKey(pem).catch(() => null) : null;
      if (key === null) throw new Invalid(step, number, "its public key is damaged, or weak");
      if (this.signers.some((one) => one.id === key.id)) {
        throw new Invalid(step, number, "it hands over to a key that was given up before");
      }
      this.signers.push(key);
    }

    report(number, entry, signer) {
      const found = statementOf(entry.envelope, this.format);
      if (!found || !isAboutItsFiles(found.statement, this.format)) {
        throw new Invalid("reports", number, "its report is not about the files that it judges");
      }
      this.queue.add("reports", number, "the signature of its report is not valid",
        isValid(signer, found.signature, this.format.payloadType, found.payload));
      this.origins.set(entry.digest, sha256(originOf(found.statement.predicate)));
      this.counts.reports += 1;
      if (entry.kind === "report") {
        this.counting.add(entry.digest);
        return;
      }
      if (!this.counting.has(entry.replaces)) {
        throw new Invalid("rescorings", number, "it replaces what is no report that counts");
      }
      const both = [entry.replaces, entry.digest].map((digest) => this.origins.get(digest));
      this.queue.add("rescorings", number, "it says something else of what was scored than the report before it",
        Promise.all(both).then(([before, after]) => before === after));
      this.waiting.set(entry.digest, entry.replaces);
    }

    rescoring(number, { replaced, left }) {
      const pairs = Array.isArray(replaced) ? replaced.map((one) => [one?.before, one?.after]) : [];
      const gone = new Set(pairs.map(([before]) => before));
      const stays = (digest) => this.counting.has(digest) && !gone.has(digest);
      if (!pairs.length || !Array.isArray(left) || !left.every(stays)) {
        throw new Invalid("rescorings", number, "it replaces nothing, or leaves a report that does not stay");
      }
      for (const [before, after] of pairs) {
        if (!this.counting.has(before) || this.waiting.get(after) !== before) {
          throw new Invalid("rescorings", number, "it replaces a report by what was not made of it");
        }
        this.counting.delete(before);
        this.counting.add(after);
        this.waiting.delete(after);
      }
      this.counts.rescorings += 1;
    }

    retraction(number, entry) {
      if (!this.counting.delete(entry.entry)) {
        throw new Invalid("retractions", number, "it retracts what is no report that counts");
      }
      this.counts.retractions += 1;
    }

    async rotation(number, entry) {
      await this.turn(entry.public_key, number, "rotations");
      if (!isSignature(entry.countersignature)) throw new Invalid("rotations", number, "its countersignature is none");
      const body = without(entry, "digest", "signature", "countersignature");
      this.queue.add("rotations", number, "its countersignature is not valid",
        isValid(this.signers.at(-1), entry.countersignature, this.format.rotationType, body));
      this.counts.rotations += 1;
    }
  }

  // What a ledger amounts to. Throws `Invalid` at the first entry that fails, naming step and entry.
  //
  // `format`: names of the types and the fields of each kind, as the site states them.
  // `asked.key`: PEM text of a key that must have signed it; `asked.holds`: the digest of an entry
  // that must be there; `asked.progress(bytes done, bytes)`.
  async function verify(bytes, format, asked = {}) {
    const chain = new Chain(format);
    try {
      let done = 0;
      for (const [number, line] of linesOf(bytes)) {
        await chain.take(number, line);
        done += line.length + 1;
        asked.progress?.(done, bytes.length);
      }
    } catch (error) {
      await chain.queue.settle(0); // what came before is to blame first
      throw error;
    }
    await chain.queue.settle(0);
    if (asked.key) {
      const key = await readKey(asked.key);
      if (!chain.signers.some((one) => one.id === key?.id)) throw new Invalid("key", null, "The ledger is another key's");
      chain.counts.key = 1;
    }
    if (asked.holds) {
      if (!chain.digests.has(asked.holds)) throw new Invalid("head", null, `No entry has the digest ${asked.holds}`);
      chain.counts.head = 1;
    }
    return {
      entries: chain.last.number + 1,
      reports: chain.counting.size,
      head: chain.last.digest,
      time: chain.last.recorded,
      keys: chain.signers.map((one) => one.id),
      counts: chain.counts,
    };
  }

  return { STEPS, canonical, missing, verify };
})();

if (typeof module !== "undefined") module.exports = LedgerCheck;
