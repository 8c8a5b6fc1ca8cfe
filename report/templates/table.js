"use strict";
// Tables of formats: sorted by any column, filtered by text, container and verdict; and the link to the raw rows.
(() => {
  const { element, unpack } = edgequant;

  const compared = (kind) => (a, b) => {
    const [x, y] = [a.order, b.order];
    if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);
    return kind === "text" ? x.localeCompare(y, undefined, { numeric: true }) : Number(x) - Number(y);
  };

  const sort = (table, header) => {
    const heads = [...header.parentElement.children];
    const column = heads.indexOf(header);
    const down = header.getAttribute("aria-sort") === "ascending";
    const kind = header.querySelector("button").dataset.sort;
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => ({ row, order: row.cells[column].dataset.order }));
    const known = rows.filter((r) => r.order !== undefined).sort(compared(kind));
    if (down) known.reverse();
    body.append(...known.map((r) => r.row), ...rows.filter((r) => r.order === undefined).map((r) => r.row));
    for (const head of heads) head.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", down ? "descending" : "ascending");
  };

  const filter = (box) => {
    const tools = box.querySelector(".tools");
    const of = (name) => tools.querySelector(`[data-filter=${name}]`)?.value ?? "";
    const [text, container, standing] = [of("text").trim().toLowerCase(), of("container"), of("standing")];
    const rows = [...box.querySelectorAll("tbody tr")];
    for (const row of rows) {
      const out = row.dataset.out === "1";
      row.hidden = !`${row.textContent} ${row.dataset.words}`.toLowerCase().includes(text) || (container && row.dataset.container !== container)
        || (standing === "out" && !out) || (standing === "in" && out);
    }
    const n = rows.filter((row) => !row.hidden).length;
    tools.querySelector(".count").textContent = n === rows.length ? `${n} formats` : `${n} of ${rows.length} formats`;
    box.querySelector(".nothing").hidden = n > 0;
  };

  for (const box of document.querySelectorAll(".comparison")) {
    const tools = box.querySelector(".tools");
    const table = box.querySelector("table");
    tools.hidden = false;
    tools.addEventListener("input", () => filter(box));
    tools.addEventListener("submit", (event) => event.preventDefault());
    tools.querySelector("[data-columns]").addEventListener("change", (event) => table.classList.toggle("brief", !event.target.checked));
    table.tHead.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button) sort(table, button.parentElement);
    });
    filter(box);
  }
  document.addEventListener("pick", () => document.querySelectorAll(".comparison").forEach(filter));

  const offer = async () => {
    const rows = document.getElementById("rows");
    const text = rows.dataset.encoding ? await unpack(rows.textContent) : rows.textContent;
    const href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    document.getElementById("download").replaceChildren(element("a", { href, download: "rows.json" }, "Save them as rows.json"), ".");
  };
  addEventListener("load", () => setTimeout(offer, 300));

  // on paper everything is open, and nothing is left out by a filter
  addEventListener("beforeprint", () => {
    for (const each of document.querySelectorAll("details:not([open])")) { each.open = true; each.dataset.opened = ""; }
  });
  addEventListener("afterprint", () => {
    for (const each of document.querySelectorAll("details[data-opened]")) { each.open = false; delete each.dataset.opened; }
  });
})();
