"use strict";
// The list of items: built from the JSON in the page, as text only, and an item's body when it is opened.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const form = document.getElementById("filters");
  const list = document.getElementById("list");
  const count = document.getElementById("count");
  const more = document.getElementById("more");
  const STEP = 50;
  // Fields of an item and of an answer, in the order of the JSON.
  const ID = 0, QUESTION = 1, CHOICES = 2, GOLD = 3, GROUPS = 4, FILES = 5, ROWS = 6;
  const CELL = 0, SHOWN = 1, SAMPLE = 2, TEXT = 3, READING = 4, OFFICIAL = 5, STRICT = 6, JUDGE = 7, FINISH = 8, ERROR = 9, HEARD = 10;
  const letter = (place) => (place < 26 ? String.fromCharCode(65 + place) : String(place + 1));

  const made = (tag, options = {}, ...children) => {
    const { cls, ...properties } = options;
    const element = Object.assign(document.createElement(tag), properties);
    if (cls) element.className = cls;
    element.append(...children);
    return element;
  };

  // ── filters ───────────────────────────────────────────────────────────────────────────────────────────────────────

  const right = (rows) => rows.reduce((sum, row) => sum + (row[STRICT] || 0), 0);
  const mostly = (rows, wanted) => rows.length > 0 && (wanted ? 2 * right(rows) > rows.length : 2 * right(rows) < rows.length);

  // In some order most rows are right (or wrong) with audio, and the other way round without.
  const turned = (rows, withAudio) => data.orders.some((order) => {
    const of = (condition) => rows.filter((row) => data.cells[row[CELL]][0] === condition && data.cells[row[CELL]][1] === order);
    return mostly(of("audio"), withAudio) && mostly(of(data.without), !withAudio);
  });
  const readDifferently = (rows) => {
    const seen = new Map();
    return rows.some((row) => {
      const condition = data.cells[row[CELL]][0];
      if (!seen.has(condition)) seen.set(condition, row[READING]);
      return seen.get(condition) !== row[READING];
    });
  };
  const SHOW = {
    deaf: (rows) => turned(rows, false),
    hears: (rows) => turned(rows, true),
    matchers: (rows) => rows.some((row) => row[OFFICIAL] !== row[STRICT]),
    wrong: (rows) => mostly(rows, false),
    right: (rows) => mostly(rows, true),
    unanswered: (rows) => rows.some((row) => row[TEXT] === null),
    unread: (rows) => rows.some((row) => row[TEXT] !== null && row[READING] === null),
    cut: (rows) => rows.some((row) => row[FINISH] === "length"),
    orders: readDifferently,
  };
  const has = (text, word) => text !== null && text.toLowerCase().includes(word);
  const said = (row) => (row[TEXT] === null ? null : data.texts[row[TEXT]]);

  const chosen = () => Object.fromEntries([...new FormData(form)].filter(([, value]) => value !== ""));
  // These two filters need both conditions, so that of the form only chooses what is shown.
  const rowsOf = (item, wanted, both) => item[ROWS].filter((row) =>
    (both || !wanted.condition || data.cells[row[CELL]][0] === wanted.condition) && (!wanted.order || data.cells[row[CELL]][1] === wanted.order));

  function matches(item, wanted) {
    if (data.groups.some((name, at) => wanted[name] && item[GROUPS][at] !== wanted[name])) return false;
    const rows = rowsOf(item, wanted, wanted.show === "deaf" || wanted.show === "hears");
    if (wanted.show && !(Object.hasOwn(SHOW, wanted.show) && SHOW[wanted.show](rows))) return false;
    const word = (wanted.text || "").trim().toLowerCase();
    if (!word) return true;
    return has(item[ID], word) || has(item[QUESTION], word) || item[CHOICES].some((choice) => has(choice, word)) || rows.some((row) => has(said(row), word));
  }

  // ── one item ──────────────────────────────────────────────────────────────────────────────────────────────────────

  const mark = (verdict) => (verdict === null ? made("td", {}, "–") : made("td", { cls: verdict ? "yes" : "no" }, verdict ? "✓ right" : "✗ wrong"));

  function badges(rows) {
    const by = new Map();
    for (const row of rows) {
      const name = data.cells[row[CELL]][0];
      by.set(name, [...(by.get(name) || []), row]);
    }
    return [...by].map(([name, of]) => {
      const n = right(of);
      const result = !data.scored ? `${of.length}` : of.length > 1 ? `${n}/${of.length}` : n ? "✓" : "✗";
      return made("span", { cls: `badge ${!data.scored ? "" : 2 * n > of.length ? "yes" : "no"}` }, `${name} ${result}`);
    });
  }

  function players(item) {
    if (data.audio === null) return [made("p", { cls: "soft" }, "No folder of audio was used.")];
    if (item[FILES] === null) return [made("p", { cls: "soft" }, "No audio: missing below the folder of audio.")];
    return item[FILES].map((file) => {
      const name = made("p", { cls: "soft" }, file);
      const player = made("audio", { controls: true, preload: "metadata", src: data.audio + file.split("/").map(encodeURIComponent).join("/") });
      player.setAttribute("aria-label", `${item[ID]}: ${file}`);
      player.addEventListener("error", () => name.append(" – cannot be opened from this page"));
      return made("div", {}, player, name);
    });
  }

  function answers(item, rows) {
    const heads = ["condition", "order", "shown as", "raw answer", "read as", "strict", "official"];
    if (data.judged) heads.push("judge");
    const body = rows.map((row) => {
      const [condition, order] = data.cells[row[CELL]];
      const notes = [row[HEARD] && `heard ${row[HEARD]}`, row[SAMPLE] && `sample ${row[SAMPLE] + 1}`].filter(Boolean);
      const text = said(row);
      const words = text === null ? made("span", { cls: "no" }, `no answer: ${row[ERROR]}`) : made("pre", {}, text === "" ? "(empty)" : text);
      const end = row[FINISH] !== null && text !== null ? [made("span", { cls: "soft" }, row[FINISH] === "length" ? "cut off at the limit" : row[FINISH])] : [];
      return made("tr", {},
        made("th", { scope: "row" }, condition, ...notes.map((note) => made("div", { cls: "soft" }, note))), made("td", {}, order),
        made("td", {}, (row[SHOWN] || item[CHOICES].map((_, place) => place)).map(letter).join(" ")), made("td", { cls: "said" }, words, ...end),
        made("td", { cls: "choice" }, row[READING] === null ? "–" : `${letter(row[READING])}: ${item[CHOICES][row[READING]]}`),
        mark(row[STRICT]), mark(row[OFFICIAL]), ...(data.judged ? [mark(row[JUDGE])] : []));
    });
    return made("div", { cls: "scroll" }, made("table", { cls: "answers" },
      made("thead", {}, made("tr", {}, ...heads.map((head) => made("th", { scope: "col" }, head)))), made("tbody", {}, ...body)));
  }

  function opened(item, wanted) {
    const groups = data.groups.map((name, at) => item[GROUPS][at] && `${name} ${item[GROUPS][at]}`).filter(Boolean);
    return made("div", { cls: "body" },
      made("ol", { cls: "choices", type: "A" }, ...item[CHOICES].map((choice, place) =>
        made("li", { cls: place === item[GOLD] ? "answer" : "" }, place === item[GOLD] ? `${choice} ✓ right` : choice))),
      made("p", { cls: "soft" }, [item[ID], ...groups].join(" · ")), ...players(item), answers(item, rowsOf(item, wanted, false)));
  }

  function entry(item, wanted) {
    const element = made("details", { cls: "card" }, made("summary", {}, made("b", {}, item[QUESTION] || "(no question)"), ...badges(rowsOf(item, wanted, false))));
    element.addEventListener("toggle", () => {
      if (element.open && element.childElementCount === 1) element.append(opened(item, wanted));
    });
    return element;
  }

  // ── the list ──────────────────────────────────────────────────────────────────────────────────────────────────────

  let found = [], wanted = {}, at = 0;
  function grow() {
    list.append(...found.slice(at, at + STEP).map((item) => entry(item, wanted)));
    at += STEP;
    more.hidden = at >= found.length;
    count.textContent = `${found.length} of ${data.items.length} items` + (more.hidden ? "" : `, ${at} of them shown`);
  }
  function update() {
    wanted = chosen();
    found = data.items.filter((item) => matches(item, wanted));
    at = 0;
    list.replaceChildren();
    grow();
  }
  // What is chosen stands behind the # of the address, so that a view can be kept.
  function fromAddress() {
    const kept = new URLSearchParams(location.hash.slice(1));
    for (const field of form.elements) if (field.name) field.value = kept.get(field.name) || "";
    update();
    if (found.length === 1) list.firstElementChild.open = true;
    if (location.hash.length > 1) document.getElementById("browse").scrollIntoView();
  }
  function changed() {
    update();
    const address = new URLSearchParams(wanted).toString();
    history.replaceState(null, "", address ? `#${address}` : location.pathname + location.search);
  }
  let waiting = 0;
  form.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(changed, 120);
  });
  form.addEventListener("reset", () => setTimeout(changed));
  form.addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", grow);
  addEventListener("hashchange", fromAddress);
  fromAddress();
})();
