// What the scripts of a table share: elements, order of values, and data that is loaded on demand.
"use strict";

const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });
const boardTables = {}; // set by the files that `load` adds to the page
const loading = new Map();

// The data of a track's `tables/TRACK/NAME.js`: a script, since the page's policy allows nothing else.
function load(folder, name) {
  if (!loading.has(name)) {
    const script = make("script", { src: `${folder}${name}.js` });
    loading.set(
      name,
      new Promise((resolve, reject) => {
        script.addEventListener("load", () => resolve(boardTables[name]));
        script.addEventListener("error", () => reject(new Error(`${name}.js could not be loaded.`)));
      }),
    );
    document.head.append(script);
  }
  return loading.get(name);
}

// What is missing stays last, in both directions.
function compare(a, b, up) {
  if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
  const [x, y] = [Number(a), Number(b)];
  const order = Number.isNaN(x) || Number.isNaN(y) ? collator.compare(a, b) : x - y;
  return up ? order : -order;
}

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  if (properties.role) element.setAttribute("role", properties.role);
  element.append(...children);
  return element;
}

function labelled(text, control) {
  return make("label", {}, make("span", { textContent: text }), control);
}

function choices(pairs) {
  const options = pairs.map(([value, textContent]) => make("option", { value, textContent }));
  return make("select", {}, ...options);
}

function button(textContent, act) {
  const made = make("button", { type: "button", textContent });
  made.addEventListener("click", act);
  return made;
}

// A name that a participant chose, in a direction of its own.
function named(textContent) {
  return make("bdi", { textContent });
}

// A plain table of texts and elements; the first cell of each row heads it.
function plainTable(label, heads, lines) {
  const head = heads.map((text, n) => make("th", { scope: "col", className: n ? "num" : "" }, text));
  const rows = lines.map(([first, ...cells]) =>
    make("tr", {}, make("th", { scope: "row" }, first), ...cells.map((cell) => make("td", { className: "num" }, cell))),
  );
  const table = make("table", { className: "plain" }, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows));
  const scroll = make("div", { className: "scroll", role: "region", tabIndex: 0 }, table);
  scroll.setAttribute("aria-label", label);
  return scroll;
}
