// A table that sorts, filters and downloads.

import { toCsv } from "./csv.js";
import { download, h } from "./dom.js";

/**
 * `columns` are {name, title?, value(row), show?(row), csv?: [[name, value(row)], ...], parts?: [{name, value(row)}],
 * head?}: what sorts and is downloaded, and what is seen. A column of `parts` sorts by each of them, one that is `head`
 * names its row and stays in place. A null value sorts last, whichever way.
 */
export function table({ label, columns, rows, file }) {
  const state = { column: null, down: false, words: "" };
  const body = h("tbody"), count = h("span", { class: "count", role: "status" });
  const heads = columns.map((column) => head(column, sortBy));

  function sortBy(key) {
    state.down = state.column === key ? !state.down : rows.some((row) => typeof key.value(row) === "number");
    state.column = key;
    draw();
  }

  function draw() {
    const shown = ordered(rows.filter((row) => matches(row, columns, state.words)), state.column, state.down);
    body.replaceChildren(...shown.map((row) => h("tr", {}, columns.map((column) => dataCell(column, row)))));
    heads.forEach((th, i) => {
      const keys = sortKeys(columns[i]), at = keys.indexOf(state.column);
      th.setAttribute("aria-sort", at < 0 ? "none" : state.down ? "descending" : "ascending");
      th.querySelectorAll("button").forEach((button, j) => button.classList.toggle("on", j === at));
    });
    count.textContent = shown.length < rows.length ? `${shown.length} of ${rows.length}` : `${rows.length}`;
    return shown;
  }

  const filter = h("input", {
    type: "search", placeholder: "filter", "aria-label": `Filter: ${label}`,
    oninput: () => { state.words = filter.value; draw(); },
  });
  const save = file && h("button", { type: "button", onclick: () => download(file, asCsv(columns, draw()), "text/csv") }, "Download CSV");
  draw();
  return h("div", { class: "table" },
    h("div", { class: "tools" }, filter, count, save),
    h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": label },
      h("table", {}, h("caption", {}, label), h("thead", {}, h("tr", {}, heads)), body)));
}

const sortKeys = (column) => column.parts ?? [column];

function head(column, sortBy) {
  const look = [column.text && "text", column.head && "stays"].filter(Boolean).join(" ") || null;
  const button = (key) => h("button", { type: "button", onclick: () => sortBy(key) }, key.name);
  return h("th", { scope: "col", title: column.title, class: look }, column.value ? sortKeys(column).map(button) : column.name);
}

function dataCell(column, row) {
  const shown = column.show ? column.show(row) : String(column.value(row) ?? "–");
  if (column.head) return h("th", { scope: "row", class: "text stays" }, shown);
  return h("td", { class: column.text ? "text" : null }, shown);
}

/** Whether every word of the filter is somewhere in the row. */
export function matches(row, columns, words) {
  const text = columns.map((column) => column.value?.(row) ?? "").join(" ").toLowerCase();
  return words.toLowerCase().split(/\s+/).every((word) => text.includes(word));
}

/** The rows by a column, those without a value last. */
export function ordered(rows, column, down) {
  if (!column) return rows;
  const sign = down ? -1 : 1;
  return [...rows].sort((a, b) => {
    const [x, y] = [column.value(a), column.value(b)];
    if (x === null || y === null) return (x === null) - (y === null);
    return sign * (typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y), "en", { numeric: true }));
  });
}

function asCsv(columns, rows) {
  const all = columns.flatMap((column) => column.csv ?? (column.value ? [[column.name, column.value]] : []));
  return toCsv(all.map(([name]) => name), rows.map((row) => all.map(([, value]) => value(row))));
}
