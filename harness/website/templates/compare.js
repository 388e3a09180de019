// Rows side by side: what is known of each that a reader selects, and of each pair of them.
"use strict";

const MOST_COMPARED = 6;

function addComparison(board) {
  const { folder, rows, table } = board;
  const chosen = new Set(); // entries
  const boxes = new Map();
  for (const row of rows) {
    const box = make("input", { type: "checkbox", autocomplete: "off" });
    box.setAttribute("aria-label", `Compare ${row.keys.method} of ${row.keys.team}`);
    box.addEventListener("change", () => {
      chosen[box.checked ? "add" : "delete"](row.entry);
      update();
      board.keep();
    });
    boxes.set(row.entry, box);
    row.element.querySelector(".rank").append(make("label", { className: "pick" }, box));
  }

  const count = make("span", { role: "status" });
  const open = button("Compare", () => {
    section.hidden = false;
    draw();
    heading.focus();
    heading.scrollIntoView({ block: "start" });
  });
  const clear = button("Clear", () => {
    chosen.clear();
    update();
    board.keep();
  });
  const bar = make("div", { className: "controls picked", hidden: true }, count, open, clear);
  table.after(bar);
  const heading = make("h2", { id: "comparison", tabIndex: -1, textContent: "Comparison" });
  const body = make("div");
  const section = make("section", { hidden: true }, heading, body);
  section.setAttribute("aria-labelledby", "comparison");
  table.closest("section").after(section);

  function update() {
    for (const [entry, box] of boxes) {
      box.checked = chosen.has(entry);
      box.disabled = !box.checked && chosen.size >= MOST_COMPARED;
    }
    bar.hidden = chosen.size === 0;
    open.disabled = chosen.size < 2;
    const most = chosen.size >= MOST_COMPARED ? ", as many as fit" : "";
    count.textContent = chosen.size === 1 ? "1 selected: select another one." : `${chosen.size} selected${most}.`;
    if (chosen.size < 2) section.hidden = true;
    if (!section.hidden) draw();
  }

  function draw() {
    load(folder, "compare").then((data) => {
      const entries = rows.map((row) => row.entry).filter((entry) => chosen.has(entry));
      const pairs = entries.flatMap((one, n) => entries.slice(n + 1).map((other) => [one, other]));
      body.replaceChildren(each(data, entries), make("h3", { textContent: "Each pair" }), apart(data, pairs), ...notes(data, pairs));
    }, board.fail);
  }

  function each(data, entries) {
    const heads = ["Method", "Rank", "95 % of rank", "Group", ...data.metrics.map((metric) => metric.title)];
    const lines = entries.map((entry) => {
      const one = data.results[entry];
      const scores = data.metrics.map((metric) => {
        const { text, interval, rank } = one.metrics[metric.key];
        const cell = make("span", {}, text, make("small", { textContent: interval }));
        if (rank) cell.append(make("small", { textContent: `mean rank ${rank}` }));
        return cell;
      });
      const link = make("a", { href: `../submissions/${entry}.html` }, named(one.name));
      return [make("span", {}, link, make("small", {}, named(one.team))), one.rank, one.ranks, one.group, ...scores];
    });
    return plainTable("Selected results", heads, lines);
  }

  function apart(data, pairs) {
    const heads = ["First − second", ...data.metrics.map((metric) => metric.title)];
    const lines = pairs.map(([one, other]) => {
      const names = make("span", {}, named(data.results[one].name), " − ", named(data.results[other].name));
      return [names, ...data.metrics.map((metric) => difference(data, metric, one, other))];
    });
    return plainTable("Differences of each pair", heads, lines);
  }

  function difference(data, metric, one, other) {
    const [first, second] = [one, other].map((entry) => data.results[entry].metrics[metric.key].mean);
    if (first === null || second === null) return "–";
    const small = [interval(data, metric, first - second, [one, other]), tested(data, metric, one, other)];
    const below = small.map((textContent) => make("small", { textContent }));
    return make("span", {}, (first - second).toFixed(metric.digits), ...below);
  }

  // The ends of the 95 % interval of a difference; empty where the ranking has none.
  function interval(data, metric, value, pair) {
    const [low, high] = pair.map((entry) => data.tested.indexOf(Number(entry))).sort((a, b) => a - b);
    const half = low < 0 ? undefined : data.halfWidths[metric.key]?.[high][low];
    return half === undefined ? "" : [value - half, value + half].map((end) => end.toFixed(metric.digits)).join(" to ");
  }

  function tested(data, metric, one, other) {
    const [i, j] = [one, other].map((entry) => data.tested.indexOf(Number(entry)));
    if (i < 0 || j < 0 || !data.p[metric.key]) return "";
    const [first, second] = [data.p[metric.key][i][j], data.p[metric.key][j][i]];
    const p = Math.min(first, second);
    const said = p >= data.level ? "no difference shown" : first < second ? "the first is better" : "the second is better";
    return `${said}, p ${p < 0.001 ? "< 0.001" : p.toFixed(3)}`;
  }

  function notes(data, pairs) {
    const [one, other] = pairs[0];
    const command = `busbench compare ledger.jsonl ${one} ${other} --cases RUNS`;
    const ranked = Object.values(data.results).filter((one) => one.rank !== "–").length;
    const some = data.tested.length < ranked ? ` Of ${ranked} results, ${data.tested.length} were tested against each other.` : "";
    const tests = data.tested.length
      ? `p: the ranking's one-sided paired test of who is better, over patients, adjusted for all tests of this table.${some}`
      : "The ledger has no ranking of just these results, so there are neither ranks by metric nor tests.";
    const whole = pairs.every((pair) => data.metrics.every((metric) => interval(data, metric, 0, pair)));
    const below = whole ? "Small below a difference: its 95 % interval, over patients, and the test. " : "";
    const said = `Small below a mean: its 95 % interval, and the mean of its ranks case by case on this metric. ${below}${tests}`;
    const asked = whole
      ? "On how many cases each is better takes every case, which only the organiser has: "
      : "The interval of a difference that has none here takes every case, which only the organiser has: ";
    return [
      make("p", { className: "small", textContent: said }),
      make("p", { className: "small" }, asked, make("code", { textContent: command })),
    ];
  }

  return {
    kept: () => ({ compare: chosen.size > 1 ? [...chosen].join() : "" }),
    restore(params) {
      const wanted = (params.get("compare") ?? "").split(",").filter((entry) => boxes.has(entry));
      for (const entry of wanted.slice(0, MOST_COMPARED)) chosen.add(entry);
      section.hidden = chosen.size < 2;
      update();
    },
  };
}
