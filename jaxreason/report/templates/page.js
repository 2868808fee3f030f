"use strict";
// Light and dark: what the system says, until the reader says otherwise.
(() => {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const kept = () => { try { return localStorage.getItem("theme"); } catch { return null; } };
  const button = document.createElement("button");
  button.type = "button";
  const dark = () => (root.dataset.theme || (system.matches ? "dark" : "light")) === "dark";
  const say = () => { button.textContent = dark() ? "Light page" : "Dark page"; };
  button.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    try { localStorage.setItem("theme", root.dataset.theme); } catch { /* a file may have no storage */ }
    say();
  });
  if (["light", "dark"].includes(kept())) root.dataset.theme = kept();
  system.addEventListener("change", say);
  document.querySelector(".kicker").append(button);
  say();
})();

// Columns that sort: first downwards, then upwards, then as they were; rows stay in their section.
(() => {
  const number = (text) => {
    const found = text.replace(/\u2212/g, "-").replace(/,/g, "").match(/^[+<]?\s*(-?\d+(?:\.\d+)?)/);
    return found ? Number(found[1]) : null;
  };
  const value = (row, column) => {
    const cell = row.cells[column];
    const text = cell ? (cell.firstChild ? cell.firstChild.textContent : "").trim() : "";
    return [number(text), text];
  };
  const compare = (a, b, way) => {
    const known = [a, b].map(([n, text]) => n !== null || /[\p{L}\d]/u.test(text));
    if (known[0] !== known[1]) return known[0] ? -1 : 1; // nothing comes last, both ways
    if (a[0] !== null && b[0] !== null) return way * (a[0] - b[0]);
    return way * a[1].localeCompare(b[1]);
  };
  const sort = (table, column, way) => {
    for (const body of table.tBodies) {
      body.original ||= [...body.rows];
      const head = body.original.filter((row) => row.classList.contains("section"));
      const rows = body.original.filter((row) => !row.classList.contains("section"));
      const keys = new Map(rows.map((row) => [row, value(row, column)]));
      if (way) rows.sort((a, b) => compare(keys.get(a), keys.get(b), way));
      body.append(...head, ...rows);
    }
  };
  for (const table of document.querySelectorAll("table.sorts")) {
    const heads = [...table.tHead.rows].at(-1).cells;
    [...heads].forEach((head, column) => {
      if (head.tagName !== "TH") return;
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const way = { descending: "ascending", ascending: null }[head.getAttribute("aria-sort")];
        const next = way === undefined ? "descending" : way;
        for (const other of heads) other.removeAttribute("aria-sort");
        if (next) head.setAttribute("aria-sort", next);
        sort(table, column, { descending: -1, ascending: 1 }[next] || 0);
      });
    });
  }
})();

// What is folded away is printed too.
addEventListener("beforeprint", () => {
  for (const part of document.querySelectorAll("details")) part.open = true;
});
