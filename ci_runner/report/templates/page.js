"use strict";
(() => {
  const PAGE = 200;
  const root = document.documentElement;
  root.classList.add("has-js");

  // Copy buttons. A page opened from disk may have no clipboard; then the text is selected and copied the old way.
  const say = (button, word) => {
    button.textContent = word;
    setTimeout(() => { button.textContent = "Copy"; }, 1600);
  };
  const select = (element) => {
    const range = document.createRange();
    range.selectNodeContents(element);
    getSelection().removeAllRanges();
    getSelection().addRange(range);
  };
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button.copy");
    if (!button) return;
    const source = button.parentElement.querySelector("code");
    try {
      await navigator.clipboard.writeText(source.textContent);
      say(button, "Copied");
    } catch {
      select(source);
      say(button, document.execCommand("copy") ? "Copied" : "Selected");
    }
  });

  // The table of all tests, built from data so that a hundred thousand rows cost nothing until they are asked for.
  const holder = document.getElementById("data");
  const body = document.querySelector("#cases tbody");
  const box = document.getElementById("filter");
  if (holder && body && box) {
    const data = JSON.parse(holder.textContent);
    const chips = [...document.querySelectorAll("button[data-outcome]")];
    const state = document.getElementById("shown");
    const more = document.getElementById("more");
    const sorters = [...document.querySelectorAll("th button[data-sort]")];
    const total = data.name.length;
    const file = (i) => data.files[data.file[i]];
    const id = (i) => file(i) + data.name[i];
    const outcome = (i) => data.outcomes[data.outcome.charCodeAt(i) - 97];
    let order = "run", falling = true, limit = PAGE, found = [];
    let lower = null;

    const text = (i) => {
      lower ??= new Array(total);
      return (lower[i] ??= `${id(i)} ${data.suites[data.suite[i]]} ${data.note[i] ?? ""}`.toLowerCase());
    };
    const cell = (row, name, content) => {
      const made = document.createElement("td");
      made.className = name;
      made.textContent = content;
      row.append(made);
      return made;
    };
    const time = (ms) => ms < 1000 ? `${ms} ms` : ms < 60000 ? `${(ms / 1000).toFixed(ms < 10000 ? 2 : 1)} s`
      : `${Math.floor(ms / 60000)} min ${Math.round(ms / 1000) % 60} s`;
    const draw = () => {
      const rows = document.createDocumentFragment();
      for (const i of found.slice(0, limit)) {
        const row = document.createElement("tr");
        const word = outcome(i);
        cell(row, `out o-${word}`, `${data.marks[word]} ${word}`);
        const test = cell(row, "test id", id(i));
        if (data.note[i]) {
          const note = document.createElement("span");
          note.className = "note";
          note.textContent = data.note[i];
          test.append(note);
        }
        cell(row, "of", data.suites[data.suite[i]]);
        cell(row, "num", time(data.ms[i]));
        rows.append(row);
      }
      body.replaceChildren(rows);
      const shown = Math.min(limit, found.length);
      const count = (n) => n.toLocaleString("en-US");
      state.textContent = found.length === total && shown === total ? `${count(total)} tests`
        : `${count(shown)} shown of ${count(found.length)} that match, ${count(total)} tests in all`;
      more.hidden = shown >= found.length;
    };
    const search = () => {
      const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
      const wanted = new Set(chips.filter((chip) => chip.getAttribute("aria-pressed") === "true").map((chip) => chip.dataset.outcome));
      found = [];
      for (let i = 0; i < total; i++) {
        if (wanted.size && !wanted.has(outcome(i))) continue;
        if (words.length && !words.every((word) => text(i).includes(word))) continue;
        found.push(i);
      }
      if (order === "time") found.sort((a, b) => (falling ? data.ms[b] - data.ms[a] : data.ms[a] - data.ms[b]) || a - b);
      if (order === "test") found.sort((a, b) => (id(a) < id(b) ? -1 : 1) * (falling ? 1 : -1));
      limit = PAGE;
      draw();
    };
    let waiting = 0;
    box.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(search, total > 20000 ? 120 : 0); });
    for (const chip of chips) chip.addEventListener("click", () => {
      chip.setAttribute("aria-pressed", chip.getAttribute("aria-pressed") === "true" ? "false" : "true");
      search();
    });
    for (const sorter of sorters) sorter.addEventListener("click", () => {
      falling = order === sorter.dataset.sort ? !falling : true;
      order = sorter.dataset.sort;
      for (const other of sorters) other.closest("th").removeAttribute("aria-sort");
      const rising = order === "test" ? falling : !falling;
      sorter.closest("th").setAttribute("aria-sort", rising ? "ascending" : "descending");
      search();
    });
    more.addEventListener("click", () => { limit += PAGE * 5; draw(); });
    search();
  }

  // Keys: / goes to the filter, j and k from failure to failure, Escape empties the filter.
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target instanceof HTMLInputElement;
    if (event.key === "Escape" && typing) {
      box.value = "";
      box.dispatchEvent(new Event("input"));
      box.blur();
    } else if (typing) {
      return;
    } else if (event.key === "/" && box) {
      event.preventDefault();
      box.focus();
      box.scrollIntoView({ block: "center" });
    } else if (event.key === "j" || event.key === "k") {
      const all = [...document.querySelectorAll(".failure > summary")];
      if (!all.length) return;
      const at = all.indexOf(document.activeElement);
      const next = at < 0 ? (event.key === "j" ? 0 : all.length - 1) : Math.min(all.length - 1, Math.max(0, at + (event.key === "j" ? 1 : -1)));
      all[next].focus();
      all[next].scrollIntoView({ block: "start" });
    }
  });

  // On paper everything that is folded away is shown.
  addEventListener("beforeprint", () => {
    for (const folded of document.querySelectorAll("details:not([open])")) {
      folded.open = true;
      folded.dataset.folded = "";
    }
  });
  addEventListener("afterprint", () => {
    for (const folded of document.querySelectorAll("details[data-folded]")) {
      folded.open = false;
      delete folded.dataset.folded;
    }
  });
})();
