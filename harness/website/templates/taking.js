// Copies of the table for a paper: the text of its files, on the clipboard.
"use strict";

function addTaking(board) {
  const place = document.getElementById("take");
  const said = make("span", { role: "status" });
  const text = make("textarea", { readOnly: true, hidden: true, rows: 6, spellcheck: false });
  text.setAttribute("aria-label", "Text of the table");
  for (const [end, title] of [["md", "Copy as Markdown"], ["tex", "Copy as LaTeX"]]) {
    place.append(" ", button(title, () => load(board.folder, "texts").then((texts) => copy(texts[end]), board.fail)));
  }
  place.append(" ", said, text);

  // A page that came without encryption has no clipboard: then the text is selected, to be copied by hand.
  async function copy(value) {
    text.value = value;
    try {
      await navigator.clipboard.writeText(value);
      text.hidden = true;
      said.textContent = "Copied.";
    } catch {
      text.hidden = false;
      text.select();
      said.textContent = "Selected: copy it from here.";
    }
  }
}
