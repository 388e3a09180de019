// The columns of the ranking: other ones than it is served with, by the names of `--columns`.
"use strict";

const MOST_COLUMNS = 6;

// Names in an address are set apart by commas, of which a scanner's name may contain some.
const listed = (names) => names.map((name) => name.replaceAll("%", "%25").replaceAll(",", "%2C")).join();
const unlisted = (text) => text.split(",").map((name) => name.replaceAll("%2C", ",").replaceAll("%25", "%"));
const groupOf = (name) => (name.includes("@") ? name.slice(name.indexOf("@") + 1) : "all");
// As a word of a command line.
const quoted = (word) => (/^[\w@:,.-]*$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);

function addColumns(board) {
  const { folder, heads, labels, rows, table } = board;
  const headRow = table.tHead.rows[0];
  const served = [...headRow.querySelectorAll("th.num")].map((cell) => cell.querySelector("[data-key]").dataset.key);
  const known = new Map(); // name -> what a file says of it
  const headCells = new Map();
  for (const [n, name] of served.entries()) {
    headCells.set(name, headRow.querySelectorAll("th.num")[n]);
    for (const row of rows) row.cells.set(name, row.element.querySelectorAll("td.num")[n]);
  }
  let shown = served;
  let groups = [];
  let group = "all";

  async function learn(groupName) {
    const first = await load(folder, "columns-0");
    groups = first.groups;
    const place = groups.findIndex(([name]) => name === groupName);
    if (place < 0) return;
    const found = await load(folder, `columns-${place}`);
    const places = new Map(found.entries.map((entry, n) => [String(entry), n]));
    for (const column of found.columns) {
      if (known.has(column.name)) continue;
      known.set(column.name, { ...column, group: groupName, places });
    }
  }

  function addCells(name) {
    if (headCells.has(name)) return;
    const { head, cells, places } = known.get(name);
    const sorted = make("span", { textContent: head.replace(/ ([↑↓])/, "\u00a0$1") });
    sorted.dataset.key = name;
    sorted.dataset.first = head.includes("↑") ? "down" : "up";
    headCells.set(name, make("th", { role: "columnheader", scope: "col", className: "num" }, sorted));
    if (!labels.has(name)) board.addLabel(name, head);
    board.makeSortable(sorted);
    for (const row of rows) {
      const text = cells[places.get(row.entry)];
      row.cells.set(name, make("td", { role: "cell", className: "num", textContent: text }));
      const value = Number.parseFloat(text);
      if (!(name in row.keys) && !Number.isNaN(value)) row.keys[name] = String(value);
    }
  }

  function show(names) {
    shown = names.length ? names : served;
    shown.forEach(addCells);
    const exchange = (line, cells) => {
      for (const cell of line.querySelectorAll(".num")) cell.remove();
      line.querySelector(".who").after(...shown.map((name) => cells.get(name)));
    };
    exchange(headRow, headCells);
    for (const row of rows) exchange(row.element, row.cells);
    table.classList.toggle("chosen", shown.join() !== served.join());
    table.style.setProperty("--columns", shown.length);
    heads.splice(0, heads.length, ...table.tHead.querySelectorAll("[data-key]"));
    draw();
  }

  const panel = make("details", {}, make("summary", { textContent: "Columns" }));
  const body = make("div", { className: "picker" });
  panel.append(body);
  panel.addEventListener("toggle", () => panel.open && change(group, () => {}));

  function change(groupName, then) {
    learn(groupName).then(() => {
      group = groupName;
      then();
      draw();
    }, board.fail);
  }

  function choose(name, wanted) {
    show(wanted ? [...shown, name] : shown.filter((one) => one !== name));
    board.apply();
    const again = body.querySelector(`[data-name="${CSS.escape(name)}"]`); // gone if of another group
    (again ?? body.querySelector("select")).focus();
  }

  function box(name) {
    const wanted = shown.includes(name);
    const input = make("input", { type: "checkbox", checked: wanted, disabled: !wanted && shown.length >= MOST_COLUMNS });
    input.dataset.name = name;
    input.addEventListener("change", () => choose(name, input.checked));
    return make("label", { className: "switch", title: name }, input, known.get(name)?.head ?? labels.get(name));
  }

  function boxes(legend, names) {
    return make("fieldset", {}, make("legend", { textContent: legend }), ...names.map(box));
  }

  function draw() {
    if (!panel.open || !groups.length) return;
    const select = choices(groups);
    select.value = group;
    select.addEventListener("change", () => change(select.value, () => {}));
    const more = [...known.values()].filter((one) => one.group === group && !shown.includes(one.name));
    const names = make("code", { textContent: `--columns ${quoted(shown.join(","))}` });
    body.replaceChildren(
      boxes(`Shown, at most ${MOST_COLUMNS}`, shown),
      make("div", { className: "controls" }, labelled("Over", select), button("As at first", () => (show(served), board.apply()))),
      boxes("More", more.map((one) => one.name)),
      make("p", { className: "small" }, "In a terminal: ", names, " of ", make("code", { textContent: "busbench table" })),
    );
  }

  return {
    panel,
    kept: () => ({ columns: shown.join() === served.join() ? "" : listed(shown) }),
    // Names that this table has not are left out.
    async restore(params) {
      const wanted = [...new Set(unlisted(params.get("columns") ?? "").filter(Boolean))];
      if (!wanted.length) return;
      for (const groupName of new Set(["all", ...wanted.map(groupOf)])) await learn(groupName);
      show(wanted.filter((name) => headCells.has(name) || known.has(name)).slice(0, MOST_COLUMNS));
    },
  };
}
