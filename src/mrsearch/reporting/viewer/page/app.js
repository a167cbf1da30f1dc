"use strict";
// State, keys and the address: the address always leads back to what is shown.
(function () {
  const index = Store.index;
  const $ = (id) => document.getElementById(id);
  const names = ["study", "benchmark", "method", "model", "decoding", "seed", "outcome", "compare", "versus"];
  const state = { text: "", everywhere: false, record: "" };
  let run = 0;
  let shown = [];

  function read() {
    const given = new URLSearchParams(location.hash.slice(1));
    for (const name of names) state[name] = given.get(name) || "";
    state.text = given.get("text") || "";
    state.everywhere = given.get("everywhere") === "1";
    state.record = given.get("record") || "";
  }

  function address() {
    const given = new URLSearchParams();
    for (const name of [...names, "text", "record"]) if (state[name]) given.set(name, state[name]);
    if (state.everywhere) given.set("everywhere", "1");
    return "#" + given.toString();
  }

  function remember() {
    if (address() !== location.hash) history.replaceState(null, "", address());
  }

  function select(name, label, options, any) {
    const element = document.createElement("select");
    element.id = "filter-" + name;
    element.append(new Option(any, ""), ...options.map(([value, text]) => new Option(text, value)));
    element.addEventListener("change", function () {
      state[name] = element.value;
      apply();
    });
    return Record.make("label", "", Record.make("span", "", label), element);
  }

  function controls() {
    const fields = Filters.fields.filter(([, , options]) => options.length > 1);
    const box = $("selects");
    for (const [name, label, options] of fields) box.append(select(name, label, options, "all"));
    box.append(select("outcome", "Outcome", [...Filters.outcomes, ...Filters.patterns()], "all"));
    box.append(select("compare", "Compare with", index.methods.map((m) => [m.id, m.label]), "nothing"));
    box.append(select("versus", "Compared", Filters.versus, "all"));
  }

  function fill() {
    for (const name of names) {
      const element = $("filter-" + name);
      if (element && element.value !== state[name]) element.value = state[name];
    }
    $("filter-versus").disabled = !state.compare;
    if ($("text").value !== state.text) $("text").value = state.text;
    $("everywhere").checked = state.everywhere;
  }

  function say(found, note) {
    const of = Store.size < index.total ? " (of " + index.total.toLocaleString("en") + " recorded)" : "";
    $("counts").textContent = found.length.toLocaleString("en") + " of " + Store.size.toLocaleString("en") + " meta-episodes" + of + (note || "");
  }

  function present(found, note) {
    shown = found;
    say(found, note);
    list.show(found);
  }

  /** Show what the state asks for; a record outside it stays open only where the address named it. */
  async function apply(named) {
    const mine = ++run;
    fill();
    remember();
    const kept = Filters.candidates(state);
    if (state.everywhere && state.text.trim()) {
      const found = await Filters.everywhere(kept, state.text, () => mine === run, function (soFar, part) {
        present(soFar, " · searching, " + Math.round(part * 100) + " %");
      });
      if (found === null) return;
      present(found);
    } else {
      present(Filters.quick(kept, state.text));
    }
    const wanted = state.record ? Store.positionOf(state.record) : -1;
    if (wanted >= 0 && (named || shown.includes(wanted))) open(wanted);
    else if (shown.length && innerWidth > 800) open(opening(shown));
    else close();
  }

  /** The first of the list; among a training's groups, the first whose rewards differ, where there is one. */
  function opening(found) {
    const c = index.columns;
    const learnt = c.member[found[0]] === null ? undefined : found.find((position) => c.instructive[position]);
    return learnt === undefined ? found[0] : learnt;
  }

  async function open(position) {
    state.record = Store.key(position);
    remember();
    list.select(position);
    document.body.classList.toggle("reading", position >= 0);
    const places = [position];
    const other = state.compare ? Store.counterpart(position, state.compare) : -1;
    if (other >= 0 && other !== position) places.push(other);
    try {
      const found = await Promise.all(places.map(Store.record));
      if (state.record !== Store.key(position)) return;
      const panes = places.map((place, i) => Record.render(place, found[i]));
      $("panes").replaceChildren(...panes);
      $("panes").classList.toggle("two", panes.length > 1);
      openPassages($("passages").getAttribute("aria-pressed") === "true");
      $("detail").scrollTop = 0;
    } catch (error) {
      $("panes").replaceChildren(Record.make("p", "error", error.message));
    }
  }

  function close() {
    state.record = "";
    remember();
    list.select(-1);
    document.body.classList.remove("reading");
    $("panes").replaceChildren(Record.make("p", "facts", shown.length ? "" : "Nothing matches."));
  }

  function step(by) {
    const position = list.neighbour(by);
    if (position >= 0) open(position);
  }

  function openPassages(opened) {
    $("passages").setAttribute("aria-pressed", String(opened));
    for (const element of document.querySelectorAll("details.passage")) element.open = opened;
  }

  async function copyLink() {
    try {
      await navigator.clipboard.writeText(location.href);
      $("link").textContent = "Copied";
    } catch (error) {
      $("link").textContent = "See the address bar";
    }
    setTimeout(function () { $("link").textContent = "Copy link"; }, 1500);
  }

  function back() {
    document.body.classList.remove("reading");
    $("list").focus();
  }

  const keys = {
    j: () => step(1), ArrowDown: () => step(1), k: () => step(-1), ArrowUp: () => step(-1),
    "/": () => $("text").focus(), c: () => $("filter-compare").focus(), l: copyLink,
    p: () => openPassages($("passages").getAttribute("aria-pressed") !== "true"), "?": () => $("help").showModal(), Escape: back,
  };

  function onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
    if (typing) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const arrow = event.key.startsWith("Arrow");
    if (arrow && event.target !== $("list") && event.target !== document.body) return;
    if (keys[event.key]) {
      event.preventDefault();
      keys[event.key]();
    }
  }

  document.title = index.studies.join(", ") + ": meta-episodes";
  $("title").textContent = index.title || index.studies.join(", ");
  const list = RecordList($("list"), open);
  controls();
  read();
  let typing = 0;
  $("text").addEventListener("input", function () {
    clearTimeout(typing);
    state.text = $("text").value;
    typing = setTimeout(apply, 120);
  });
  $("filters").addEventListener("submit", (event) => event.preventDefault());
  $("everywhere").addEventListener("change", function () {
    state.everywhere = $("everywhere").checked;
    apply();
  });
  $("next").addEventListener("click", () => step(1));
  $("previous").addEventListener("click", () => step(-1));
  $("back").addEventListener("click", back);
  $("link").addEventListener("click", copyLink);
  $("passages").addEventListener("click", keys.p);
  $("help-button").addEventListener("click", keys["?"]);
  document.addEventListener("keydown", onKey);
  window.addEventListener("hashchange", function () {
    read();
    apply(true);
  });
  apply(true);
})();
