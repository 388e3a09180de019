// Sorts and filters the ranking; the address keeps both. Without this script the table is complete,
// in order of rank.
"use strict";

const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });
const FILTERS = { gaps: "Gap", origin: "Origin", kind: "Kind", labels: "Labels", external: "External data", device: "Device" };
const TEXTS = ["method", "team"];

for (const table of document.querySelectorAll("table[data-board]")) enhance(table);

function enhance(table) {
  const bodies = [...table.tBodies].map((body) => ({
    body,
    rows: [...body.rows].filter((row) => !row.classList.contains("divider")).map(read),
  }));
  const rows = bodies.flatMap((part) => part.rows);
  const status = make("p", { className: "small", role: "status" });
  const heads = [...table.tHead.querySelectorAll("[data-key]")];
  const labels = new Map(heads.map((head) => [head.dataset.key, head.textContent]));
  const state = { key: "rank", up: true, words: "", chosen: {} };
  const details = document.getElementById("details");
  const filters = {};

  function sort(key, up) {
    Object.assign(state, { key, up });
    for (const { body, rows } of bodies) {
      rows.sort((a, b) => compare(a.keys[key], b.keys[key], up) || a.place - b.place);
      body.append(...rows.map((row) => row.element));
    }
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
    select.value = key;
    tell();
  }

  function filter() {
    const words = state.words.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows) {
      const fits = Object.entries(state.chosen).every(([key, value]) => !value || row.keys[key] === value);
      row.element.hidden = !(fits && words.every((word) => row.text.includes(word)));
    }
    tell();
  }

  function tell() {
    const shown = rows.filter((row) => !row.element.hidden).length;
    const direction = state.up ? "ascending" : "descending";
    status.textContent = `${shown} of ${rows.length} shown, by ${labels.get(state.key)}, ${direction}.`;
    keep();
  }

  // Only what differs from the page as it is served is in its address.
  function keep() {
    const address = new URL(location.href);
    const kept = {
      sort: state.key === "rank" && state.up ? "" : (state.up ? "" : "-") + state.key,
      words: state.words,
      details: details.checked ? "1" : "",
      ...Object.fromEntries(Object.keys(filters).map((key) => [key, state.chosen[key] ?? ""])),
    };
    for (const [key, value] of Object.entries(kept)) {
      address.searchParams.delete(key);
      if (value) address.searchParams.append(key, value);
    }
    if (address.href !== location.href) history.replaceState(null, "", address);
  }

  // What the address names and this table has not is left out.
  function restore() {
    const asked = new URL(location.href).searchParams;
    details.checked = asked.get("details") === "1";
    state.words = search.value = asked.get("words") ?? "";
    for (const [key, choice] of Object.entries(filters)) {
      choice.value = asked.get(key) ?? "";
      if (choice.selectedIndex < 0) choice.value = "";
      state.chosen[key] = choice.value;
    }
    const [, minus, key] = (asked.get("sort") ?? "").match(/^(-?)(.*)$/s);
    const known = labels.has(key);
    panel.open ||= known || Object.values(state.chosen).some(Boolean) || state.words !== "";
    sort(known ? key : "rank", !known || !minus);
    filter();
  }

  function toggle(head) {
    const first = head.dataset.first === "up";
    sort(head.dataset.key, head.dataset.key === state.key ? !state.up : first);
  }

  for (const head of heads) {
    const button = make("button", { type: "button", title: "Sort" });
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => toggle(head));
  }

  const search = make("input", { type: "search", autocomplete: "off", spellcheck: false });
  search.addEventListener("input", () => {
    state.words = search.value;
    filter();
  });
  const controls = make("div", { className: "controls", role: "search" });
  controls.append(labelled("Method or team", search));
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
  const select = choices(labels);
  select.addEventListener("change", () => {
    const head = heads.find((head) => head.dataset.key === select.value);
    sort(select.value, head.dataset.first === "up");
  });
  const turn = make("button", { type: "button", textContent: "Reverse" });
  turn.addEventListener("click", () => sort(state.key, !state.up));
  controls.append(labelled("Sort by", select), turn);
  const panel = make("details", { open: matchMedia("(min-width: 48.01rem)").matches });
  panel.append(make("summary", { textContent: "Filter and sort" }), controls);
  document.querySelector(".tools").append(status, panel);
  details.addEventListener("change", keep);
  restore();
}

function read(element, place) {
  const keys = { ...element.dataset };
  for (const key of TEXTS) keys[key] = element.querySelector("." + key).textContent;
  const text = TEXTS.map((key) => keys[key]).join(" ").toLowerCase();
  return { element, place, keys, text };
}

function compare(a, b, up) {
  if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
  const [x, y] = [Number(a), Number(b)];
  const order = Number.isNaN(x) || Number.isNaN(y) ? collator.compare(a, b) : x - y;
  return up ? order : -order;
}

function make(tag, properties) {
  const element = Object.assign(document.createElement(tag), properties);
  if (properties.role) element.setAttribute("role", properties.role);
  return element;
}

function labelled(text, control) {
  const label = make("label", {});
  label.append(make("span", { textContent: text }), control);
  return label;
}

function choices(pairs) {
  const select = make("select", {});
  for (const [value, textContent] of pairs) select.append(make("option", { value, textContent }));
  return select;
}

// Plots are loaded after everything else, before a reader comes to them, prints or captures the page.
addEventListener("load", () => {
  if (navigator.connection?.saveData) return;
  for (const image of document.querySelectorAll("img[loading=lazy]")) image.loading = "eager";
});
