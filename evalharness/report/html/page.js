"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const ROW = 48, PAGE = 9, SPARE = 6;
  const [ID, INPUT, TARGETS, SLICES, ANSWERS] = [0, 1, 2, 3, 4], [TEXT, OUTCOME, LEFT, VALUES] = [0, 1, 2, 3];
  const at = (id) => document.getElementById(id);
  const list = at("list"), spacer = at("spacer"), detail = at("detail"), found = at("found");
  const query = at("q"), armOf = at("arm"), show = at("show"), sliceOf = at("slice");
  const reference = data.arms.indexOf(data.reference);
  const haystacks = new Array(data.rows.length);
  let kept = data.rows.map((_, i) => i), chosen = 0;

  const unseen = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}]/gu;
  const escaped = (c) => {
    if (c === "\n" || c === "\t" || c === "\u200c" || c === "\u200d") return c;
    const code = c.codePointAt(0), hex = code.toString(16);
    return code < 256 ? "\\x" + hex.padStart(2, "0") : code < 65536 ? "\\u" + hex.padStart(4, "0") : "\\U" + hex.padStart(8, "0");
  };
  const visible = (text) => text.replace(unseen, escaped);
  const oneLine = (text) => visible(text.slice(0, 300).replace(/\s+/g, " "));

  const make = (name, text, kind) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (kind) made.className = kind;
    return made;
  };
  const option = (select, value, text) => { const made = make("option", visible(text)); made.value = value; select.append(made); };

  const sign = (data.units[data.metrics[0]] || [1, 2, 1])[2];
  const value = (row, arm) => { const known = row[ANSWERS][arm][VALUES][0]; return known === undefined ? null : known; };
  const gain = (row, arm) => {
    if (reference < 0) return 0;
    const [mine, other] = [value(row, arm), value(row, reference)];
    return mine === null || other === null ? 0 : sign * (mine - other);
  };
  const shown = (metric, number) => {
    if (number === null) return "–";
    const [scale, digits] = data.units[metric] || [1, 2];
    return (number * scale).toFixed(digits);
  };
  const haystack = (i) => {
    if (haystacks[i] === undefined) {
      const row = data.rows[i];
      haystacks[i] = [row[ID], row[INPUT], row[TARGETS], ...row[ANSWERS].map((answer) => answer[TEXT])].join("\n").toLowerCase();
    }
    return haystacks[i];
  };

  const tests = {
    all: () => true,
    better: (row, arm) => gain(row, arm) > 0,
    worse: (row, arm) => gain(row, arm) < 0,
    differ: (row, arm) => reference >= 0 && row[ANSWERS][arm][TEXT] !== row[ANSWERS][reference][TEXT],
    trouble: (row, arm) => row[ANSWERS][arm][OUTCOME] !== "stop",
  };

  function filter() {
    const words = (query.value.toLowerCase().match(/"[^"]+"|\S+/g) || []).map((word) => word.replaceAll('"', "")).filter(Boolean);
    const arm = Number(armOf.value), test = tests[show.value];
    const [field, wanted] = sliceOf.value ? JSON.parse(sliceOf.value) : [-1, ""];
    kept = [];
    data.rows.forEach((row, i) => {
      if (field >= 0 && row[SLICES][field] !== wanted) return;
      if (!test(row, arm)) return;
      if (words.length && !words.every((word) => haystack(i).includes(word))) return;
      kept.push(i);
    });
    const left = data.total - data.rows.length;
    const more = left > 0 ? ` ${left.toLocaleString("en")} more are in the store: those on which the arms differ least.` : "";
    found.textContent = `${kept.length.toLocaleString("en")} of ${data.rows.length.toLocaleString("en")} items.${more}`;
    chosen = 0;
    list.scrollTop = 0;
    spacer.style.height = `${kept.length * ROW}px`;
    draw();
    open();
  }

  function draw() {
    const first = Math.max(0, Math.floor(list.scrollTop / ROW) - SPARE);
    const last = Math.min(kept.length, Math.ceil((list.scrollTop + list.clientHeight) / ROW) + SPARE);
    const rows = [];
    for (let k = first; k < last; k++) rows.push(item(k));
    spacer.replaceChildren(...rows);
    if (kept.length) list.setAttribute("aria-activedescendant", `item-${chosen}`);
    else list.removeAttribute("aria-activedescendant");
  }

  function item(k) {
    const row = data.rows[kept[k]], made = make("div", undefined, "item");
    made.id = `item-${k}`;
    made.setAttribute("role", "option");
    made.setAttribute("aria-selected", String(k === chosen));
    made.setAttribute("aria-posinset", String(k + 1));
    made.setAttribute("aria-setsize", String(kept.length));
    made.style.top = `${k * ROW}px`;
    made.dataset.k = String(k);
    made.append(make("div", oneLine(row[INPUT]) || "(no input)"), marks(row));
    return made;
  }

  function marks(row) {
    const made = make("div", undefined, "marks");
    data.arms.forEach((label, arm) => {
      const metric = data.metrics[0], number = value(row, arm);
      const sign = number === 1 ? "✓" : number === 0 ? "✗" : shown(metric, number);
      made.append(make("b", sign, number === 1 ? "y" : number === 0 ? "x" : ""), ` ${visible(label)}  `);
    });
    return made;
  }

  function open() {
    if (!kept.length) { detail.replaceChildren(make("p", "No item fits. Change the search or the filters.")); return; }
    const row = data.rows[kept[chosen]], parts = [];
    parts.push(make("h4", `Input · ${row[ID]}`), make("pre", visible(row[INPUT])));
    if (row[TARGETS]) parts.push(make("h4", "Wanted"), make("pre", visible(row[TARGETS])));
    data.arms.forEach((label, arm) => {
      const answer = row[ANSWERS][arm];
      const scores = data.metrics.map((metric, m) => `${metric} ${shown(metric, answer[VALUES][m])}`).join(", ");
      const outcome = { length: " · cut at the limit", error: " · failed", missing: " · missing" }[answer[OUTCOME]] || "";
      parts.push(make("h4", `${visible(label)}${outcome} · ${visible(scores)}`), make("pre", visible(answer[TEXT]) || "(empty)"));
      if (answer[LEFT]) parts.push(make("small", `${answer[LEFT].toLocaleString("en")} more characters are in the store.`));
    });
    detail.replaceChildren(...parts);
    detail.scrollTop = 0;
  }

  function choose(k) {
    if (!kept.length) return;
    chosen = Math.max(0, Math.min(kept.length - 1, k));
    const top = chosen * ROW;
    if (top < list.scrollTop) list.scrollTop = top;
    if (top + ROW > list.scrollTop + list.clientHeight) list.scrollTop = top + ROW - list.clientHeight;
    draw();
    open();
  }

  data.arms.forEach((label, arm) => option(armOf, String(arm), label));
  armOf.value = String(Math.max(0, data.arms.indexOf(data.told)));
  data.slices.forEach((name, field) => {
    const values = [...new Set(data.rows.map((row) => row[SLICES][field]))].filter(Boolean).sort();
    values.forEach((each) => option(sliceOf, JSON.stringify([field, each]), `${name}=${each}`));
  });

  let waiting = 0;
  query.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(filter, 80); });
  for (const each of [armOf, show, sliceOf]) each.addEventListener("change", filter);
  at("filters").addEventListener("submit", (event) => { event.preventDefault(); filter(); });
  let due = false;
  list.addEventListener("scroll", () => {
    if (due) return;
    due = true;
    requestAnimationFrame(() => { due = false; draw(); });
  });
  list.addEventListener("click", (event) => {
    const hit = event.target.closest(".item");
    if (hit) choose(Number(hit.dataset.k));
  });
  const moves = { ArrowDown: () => chosen + 1, ArrowUp: () => chosen - 1, PageDown: () => chosen + PAGE, PageUp: () => chosen - PAGE, Home: () => 0, End: () => kept.length - 1 };
  list.addEventListener("keydown", (event) => {
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    choose(move());
  });
  new ResizeObserver(draw).observe(list);
  filter();
})();
