"use strict";
// Decisions: the rows of one policy that contain what is searched for.
const decisions = JSON.parse(document.getElementById("decisions").textContent);
const MOST = 200;

function clock(seconds) {
  const two = (number) => String(Math.floor(number)).padStart(2, "0");
  const days = Math.floor(seconds / 86400);
  return (days ? days + "d " : "") + two((seconds % 86400) / 3600) + ":" + two((seconds % 3600) / 60) + ":" + two(seconds % 60);
}

function element(name, text, kind) {
  const made = document.createElement(name);
  made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

for (const form of document.querySelectorAll("form.decisions")) {
  const rows = decisions[Number(form.dataset.case)];
  const [select, search, count] = form.children;
  const body = form.nextElementSibling.querySelector("tbody");
  rows.forEach((row, place) => select.append(new Option(row.name, place)));
  const show = () => {
    const row = rows[Number(select.value)];
    body.replaceChildren();
    if (!row) {
      count.textContent = "no decisions";
      return;
    }
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = row.changes.filter(([at, from, to, why, steps]) => {
      const text = (clock(at) + " " + from + " → " + to + " " + why + " " + steps.join(" ")).toLowerCase();
      return words.every((word) => text.includes(word));
    });
    for (const [at, from, to, why, steps] of found.slice(0, MOST)) {
      const line = document.createElement("tr");
      const reason = element("td", why);
      for (const step of steps) reason.append(element("div", step, "why"));
      line.append(element("td", clock(at)), element("td", from + " → " + to), reason);
      body.append(line);
    }
    const left = row.left_out ? ", " + row.left_out + " later ones left out of this file" : "";
    count.textContent = found.length + " of " + row.changes.length + (found.length > MOST ? ", the first " + MOST + " shown" : "") + left;
  };
  form.addEventListener("submit", (event) => event.preventDefault());
  select.addEventListener("change", show);
  search.addEventListener("input", show);
  show();
}

// Tables: sorted by the column whose head is clicked.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    let up = false;
    head.addEventListener("click", () => {
      up = !up;
      const value = (row) => {
        const text = row.cells[column].textContent;
        const number = parseFloat(text);
        return Number.isNaN(number) ? text : number;
      };
      const sorted = [...body.rows].sort((one, other) => {
        const [first, second] = [value(one), value(other)];
        const order = typeof first === "number" && typeof second === "number" ? first - second : String(first).localeCompare(String(second));
        return up ? order : -order;
      });
      body.append(...sorted);
    });
  });
}
