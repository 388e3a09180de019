// The board as of an earlier entry of the ledger, in place of that of now.
"use strict";

function addPast(board) {
  const { folder, table } = board;
  const panel = make("details", { className: "boards" }, make("summary", { textContent: "Earlier boards" }));
  const body = make("div", { className: "controls" });
  const place = make("div", { hidden: true });
  panel.append(body);
  table.before(place);
  let data = null;
  let number = ""; // of the entry whose board is shown; empty of that of now

  async function learn() {
    if (data) return;
    data = await load(folder, "past");
    const dated = data.boards.map((one, n) => [String(one.number), `entry ${one.number}, ${one.day}${n + 1 === data.boards.length ? ", now" : ""}`]);
    const select = choices(dated.reverse());
    select.addEventListener("change", () => {
      show(select.value);
      board.keep();
    });
    body.replaceChildren(labelled("As of", select));
  }

  function show(wanted) {
    const now = data.boards.at(-1);
    // The newest board that is no newer than the entry, which may have changed another track.
    const found = data.boards.filter((one) => one.number <= Number(wanted)).at(-1) ?? now;
    number = found === now ? "" : String(found.number);
    body.querySelector("select").value = String(found.number);
    table.hidden = number !== ""; // and what is about its rows, by the style sheet
    table.closest("section").classList.toggle("earlier", number !== "");
    place.hidden = number === "";
    place.replaceChildren(...(number === "" ? [] : draw(found)));
    board.apply();
  }

  function draw(found) {
    const titles = [...board.labels].filter(([key]) => ["dice", "iou", "hd95"].includes(key)).map(([, label]) => label);
    const lines = found.rows.map(([entry, rank, group]) => {
      const [method, team, ...scores] = data.results[entry];
      const link = make("a", { href: `../submissions/${entry}.html` }, named(method));
      return [make("span", {}, link, make("small", {}, named(team))), rank ?? "–", ...scores, group || "–"];
    });
    const command = `head -n ${found.number + 1} ledger.jsonl > past.jsonl; busbench rank past.jsonl`;
    return [
      make("p", { className: "note" }, `As of entry ${found.number} of the ledger, ${found.day}. In a terminal: `, make("code", { textContent: command })),
      plainTable("Earlier board", ["Method", "Rank", ...titles, "Group"], lines),
    ];
  }

  panel.addEventListener("toggle", () => panel.open && learn().catch(board.fail));
  return {
    panel,
    kept: () => ({ asof: number }),
    async restore(params) {
      if (!/^\d+$/.test(params.get("asof") ?? "")) return;
      await learn();
      panel.open = true;
      show(params.get("asof"));
    },
  };
}
