// Sorts, filters and pages the ranking; the address keeps what a reader chose. Without this script the
// table is complete, in order of rank.
"use strict";

const FILTERS = { gaps: "Gap", origin: "Origin", kind: "Kind", labels: "Labels", external: "External data", device: "Device" };
const TEXTS = ["method", "team"];
const PAGE = 50; // rows
const ALL = "all";

for (const table of document.querySelectorAll("table[data-board]")) enhance(table);

function enhance(table) {
  const bodies = [...table.tBodies].map((body) => ({
    body,
    divider: body.querySelector(".divider"),
    rows: [...body.rows].filter((row) => !row.classList.contains("divider")).map(read),
  }));
  const rows = bodies.flatMap((part) => part.rows);
  const status = make("p", { className: "small", role: "status" });
  const heads = [...table.tHead.querySelectorAll("[data-key]")];
  const labels = new Map(heads.map((head) => [head.dataset.key, head.textContent]));
  const state = { key: "rank", up: true, words: "", chosen: {}, page: "1" };
  const details = document.getElementById("details");
  const filters = {};
  const board = { table, rows, heads, labels, folder: table.dataset.tables, apply, keep, fail, addLabel, makeSortable };

  function sort(key, up) {
    Object.assign(state, { key, up });
    for (const { body, rows } of bodies) {
      rows.sort((a, b) => compare(a.keys[key], b.keys[key], up) || a.place - b.place);
      body.append(...rows.map((row) => row.element));
    }
    select.value = key;
    apply();
  }

  function markHeads() {
    const { key, up } = state;
    for (const head of heads) {
      const now = head.dataset.key === key ? (up ? "ascending" : "descending") : null;
      head.classList.toggle("sorted", now !== null);
      head.classList.toggle("descending", now === "descending");
    }
    for (const cell of new Set(heads.map((head) => head.closest("th")))) {
      const sorted = cell.querySelector(".sorted");
      if (!sorted) cell.removeAttribute("aria-sort");
      else cell.setAttribute("aria-sort", up ? "ascending" : "descending");
    }
  }

  function fits(row) {
    const words = state.words.toLowerCase().split(/\s+/).filter(Boolean);
    const chosen = Object.entries(state.chosen).every(([key, value]) => !value || row.keys[key] === value);
    return chosen && words.every((word) => row.text.includes(word));
  }

  // Rows that a filter leaves out are hidden; those of other pages only on a screen, not on paper.
  function apply() {
    const fitting = bodies.flatMap((part) => part.rows).filter(fits);
    const pages = Math.max(1, Math.ceil(fitting.length / PAGE));
    if (state.page !== ALL) state.page = String(Math.min(Math.max(1, Number(state.page) || 1), pages));
    const from = state.page === ALL ? 0 : (Number(state.page) - 1) * PAGE;
    const here = new Set(fitting.slice(from, state.page === ALL ? undefined : from + PAGE));
    const left = new Set(fitting);
    for (const row of rows) {
      row.element.hidden = !left.has(row);
      row.element.classList.toggle("off", !here.has(row));
    }
    for (const { divider, rows } of bodies) divider?.classList.toggle("off", !rows.some((row) => here.has(row)));
    markHeads();
    const part = here.size === fitting.length ? fitting.length : `${from + 1}–${from + here.size} of ${fitting.length}`;
    const of = here.size === fitting.length || fitting.length < rows.length ? ` of ${rows.length}` : "";
    status.textContent = `${part}${of} shown, by ${labels.get(state.key)}, ${state.up ? "ascending" : "descending"}.`;
    drawPager(pages);
    keep();
  }

  function drawPager(pages) {
    pager.hidden = pages === 1 || table.hidden;
    const numbers = Array.from({ length: pages }, (_, n) => String(n + 1));
    pager.replaceChildren(
      ...[...numbers, ALL].map((page) => {
        const made = button(page, () => turnTo(page));
        made.setAttribute("aria-label", page === ALL ? "All rows" : `Page ${page}`);
        if (page === state.page) made.setAttribute("aria-current", "page");
        return made;
      }),
    );
  }

  function turnTo(page) {
    state.page = page;
    apply();
    pager.querySelector("[aria-current]").focus();
    table.scrollIntoView({ block: "start" });
  }

  // Only what differs from the page as it is served is in its address.
  function keep() {
    const address = new URL(location.href);
    const kept = {
      sort: state.key === "rank" && state.up ? "" : (state.up ? "" : "-") + state.key,
      words: state.words,
      details: details.checked ? "1" : "",
      ...Object.fromEntries(Object.keys(filters).map((key) => [key, state.chosen[key] ?? ""])),
      page: state.page === "1" ? "" : state.page,
      ...Object.assign({}, ...parts.map((part) => part.kept())),
    };
    for (const [key, value] of Object.entries(kept)) {
      address.searchParams.delete(key);
      if (value) address.searchParams.append(key, value);
    }
    if (ready && address.href !== location.href) history.replaceState(null, "", address);
  }

  // What the address names and this table has not is left out.
  function restore(asked) {
    details.checked = asked.get("details") === "1";
    state.words = search.value = asked.get("words") ?? "";
    for (const [key, choice] of Object.entries(filters)) {
      choice.value = asked.get(key) ?? "";
      if (choice.selectedIndex < 0) choice.value = "";
      state.chosen[key] = choice.value;
    }
    const [, minus, key] = (asked.get("sort") ?? "").match(/^(-?)(.*)$/s);
    const known = labels.has(key);
    panel.open ||= Object.values(state.chosen).some(Boolean) || state.words !== "";
    state.page = asked.get("page") ?? "1";
    sort(known ? key : "rank", !known || !minus);
  }

  // A row that the address names is shown, whatever page it is on.
  function reveal() {
    const row = rows.find((one) => `#${one.element.id}` === location.hash);
    if (!row || !row.element.classList.contains("off")) return;
    const place = bodies.flatMap((part) => part.rows).filter(fits).indexOf(row);
    if (place < 0) return;
    state.page = String(Math.floor(place / PAGE) + 1);
    apply();
    row.element.scrollIntoView();
  }

  function fail(error) {
    status.textContent = error.message;
  }

  function addLabel(key, label) {
    labels.set(key, label);
    select.append(make("option", { value: key, textContent: label }));
  }

  function toggle(head) {
    const first = head.dataset.first === "up";
    state.page = "1";
    sort(head.dataset.key, head.dataset.key === state.key ? !state.up : first);
  }

  function makeSortable(head) {
    const made = make("button", { type: "button", title: "Sort" }, ...head.childNodes);
    head.append(made);
    made.addEventListener("click", () => toggle(head));
  }

  function filter() {
    state.page = "1";
    apply();
  }

  heads.forEach(makeSortable);
  const search = make("input", { type: "search", autocomplete: "off", spellcheck: false });
  search.addEventListener("input", () => {
    state.words = search.value;
    filter();
  });
  const controls = make("div", { className: "controls", role: "search" }, labelled("Method or team", search));
  for (const [key, label] of Object.entries(FILTERS)) {
    const values = [...new Set(rows.map((row) => row.keys[key]))].sort(collator.compare);
    if (values.length < 2) continue;
    filters[key] = choices([["", "all"], ...values.map((value) => [value, value])]);
    filters[key].addEventListener("change", () => {
      state.chosen[key] = filters[key].value;
      filter();
    });
    controls.append(labelled(label, filters[key]));
  }
  const select = choices([...labels]);
  select.addEventListener("change", () => {
    const head = heads.find((head) => head.dataset.key === select.value);
    sort(select.value, head?.dataset.first !== "down");
  });
  controls.append(labelled("Sort by", select), button("Reverse", () => sort(state.key, !state.up)));
  const panel = make("details", { open: matchMedia("(min-width: 48.01rem)").matches }, make("summary", { textContent: "Filter and sort" }), controls);
  const pager = make("nav", { className: "controls pager", hidden: true });
  pager.setAttribute("aria-label", "Pages of the table");
  table.after(pager);
  const columns = addColumns(board);
  const parts = [columns, addComparison(board), ...("past" in table.dataset ? [addPast(board)] : [])];
  addTaking(board);
  document.querySelector(".tools").append(status, panel, ...parts.flatMap((part) => part.panel ?? []));
  details.addEventListener("change", keep);
  window.addEventListener("hashchange", reveal);

  // Until all that the address names is there, the address stays as it is.
  const asked = new URL(location.href).searchParams;
  let ready = false;
  const restored = parts.map((part) => part.restore(asked));
  if (!asked.has("columns")) restore(asked);
  Promise.all(restored)
    .then(() => asked.has("columns") && restore(asked), fail)
    .then(() => {
      ready = true;
      keep();
      reveal();
    });
}

function read(element, place) {
  const keys = { ...element.dataset };
  for (const key of TEXTS) keys[key] = element.querySelector("." + key).textContent;
  const text = TEXTS.map((key) => keys[key]).join(" ").toLowerCase();
  return { element, place, entry: element.id.replace("entry-", ""), keys, text, cells: new Map() };
}

// Plots are loaded after everything else, before a reader comes to them, prints or captures the page.
addEventListener("load", () => {
  if (navigator.connection?.saveData) return;
  for (const image of document.querySelectorAll("img[loading=lazy]")) image.loading = "eager";
});
