"use strict";
// The report's pages work without this; with it they have a theme to choose, tables that sort, filters.
const report = {};

(function theme() {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const kept = () => { try { return localStorage.getItem("theme"); } catch { return null; } };
  const show = () => {
    root.dataset.theme = kept() || (system.matches ? "dark" : "light");
    const button = document.getElementById("theme");
    if (button) button.textContent = root.dataset.theme === "dark" ? "Light" : "Dark";
  };
  show();
  system.addEventListener("change", show);
  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    button.hidden = false;
    button.setAttribute("aria-label", "Change between light and dark");
    button.addEventListener("click", () => {
      const other = root.dataset.theme === "dark" ? "light" : "dark";
      try { localStorage.setItem("theme", other); } catch { /* a browser that keeps nothing */ }
      if (kept() !== other) root.dataset.theme = other;
      else show();
    });
    show();
  });
})();

// What a cell sorts by: its data-value, else a number at its beginning, else its text; null: nothing.
function valueOf(cell) {
  if ("value" in cell.dataset) return cell.dataset.value === "" ? null : Number(cell.dataset.value);
  const text = cell.textContent.trim();
  if (text === "" || text === "–") return null;
  const plain = text.replace(/[,\s]/g, "").replace("−", "-");
  return /^[-+]?\d/.test(plain) && cell.classList.contains("number") ? parseFloat(plain) : text.toLowerCase();
}

function compare(a, b) {
  if (a === null || b === null) return (a === null) - (b === null); // what is missing comes last
  return typeof a === typeof b && typeof a === "number" ? a - b : String(a).localeCompare(String(b));
}

function sortBy(table, head, column) {
  const rising = head.getAttribute("aria-sort") === "descending" || (!head.hasAttribute("aria-sort") && !head.classList.contains("number"));
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", rising ? "ascending" : "descending");
  const body = table.tBodies[0];
  const keyed = [...body.rows].map(row => [valueOf(row.cells[column]), row]);
  keyed.sort(([a], [b]) => a === null || b === null ? compare(a, b) : (rising ? compare(a, b) : compare(b, a)));
  body.append(...keyed.map(([, row]) => row));
}

function makeSortable(table) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    if (head.tagName !== "TH") return;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sort";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => sortBy(table, head, column));
  });
}

function makeFilters(form) {
  const rows = [...document.querySelectorAll("section.scores > .scroll tbody tr")];
  const show = () => {
    const wanted = [...new FormData(form)].filter(([, value]) => value !== "");
    let number = 0;
    for (const row of rows) {
      row.hidden = !wanted.every(([name, value]) => row.dataset[name] === value);
      number += !row.hidden;
    }
    for (const section of document.querySelectorAll("section.scores")) {
      section.hidden = !section.querySelector(":scope > .scroll tbody tr:not([hidden])");
    }
    document.getElementById("shown").textContent = `${number} of ${rows.length} lines`;
  };
  form.hidden = rows.length === 0;
  form.addEventListener("change", show);
  form.addEventListener("reset", () => setTimeout(show));
  form.addEventListener("submit", event => event.preventDefault());
  show();
}

function makeMetricChoice(details) {
  const select = details.querySelector("select.metric");
  const show = () => {
    for (const row of details.querySelectorAll("tbody tr")) row.hidden = row.dataset.metric !== select.value;
  };
  details.querySelector(".choice").hidden = false;
  select.addEventListener("change", show);
  show();
}

document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll("table.sortable").forEach(makeSortable);
  document.querySelectorAll("details.sides").forEach(makeMetricChoice);
  const filters = document.getElementById("filters");
  if (filters) makeFilters(filters);
});
