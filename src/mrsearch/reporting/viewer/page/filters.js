"use strict";
// Which records are shown.
var Filters = (function () {
  const index = Store.index;
  const fields = [
    ["study", "Study", index.studies.map((s) => [s, s])],
    ["benchmark", "Benchmark", index.benchmarks.map((b) => [b.id, b.label])],
    ["method", "Method", index.methods.map((m) => [m.id, m.label])],
    ["model", "Model", index.models.map((m) => [m, m])],
    ["decoding", "Decoding", index.decodings.map((d) => [d, d])],
    ["seed", "Seed", index.seeds.map((s) => [String(s), String(s)])],
  ];
  const outcomes = [
    ["right", "ends right"],
    ["wrong", "ends wrong"],
    ["corrected", "wrong → right"],
    ["corrupted", "right → wrong or no answer"],
    ["never", "never right"],
    ["always", "always right"],
    ["instructive", "rewards differ in its group"],
  ];
  const versus = [
    ["better", "right where the other is wrong"],
    ["worse", "wrong where the other is right"],
    ["differ", "answers differ"],
  ];

  function patterns() {
    const counts = new Map();
    for (const pattern of index.columns.pattern) counts.set(pattern, (counts.get(pattern) || 0) + 1);
    const seen = [...counts.keys()].filter((p) => p.length > 1).sort((a, b) => a.length - b.length || (a < b ? -1 : 1));
    return seen.map((p) => ["=" + p, glyphs(p)]);
  }

  function glyphs(pattern) {
    return [...pattern].map((c) => (c === "1" ? "✓" : "✗")).join(" ") || "no episode";
  }

  function outcomeHolds(position, wanted) {
    const pattern = index.columns.pattern[position];
    if (wanted === "instructive") return index.columns.instructive[position] === 1;
    if (wanted.startsWith("=")) return pattern === wanted.slice(1);
    if (wanted === "right") return pattern.endsWith("1");
    if (wanted === "wrong") return !pattern.endsWith("1");
    if (wanted === "corrected") return pattern.includes("01");
    if (wanted === "corrupted") return pattern.includes("10");
    if (wanted === "never") return !pattern.includes("1");
    return pattern.length > 0 && !pattern.includes("0");
  }

  function versusHolds(position, state) {
    const other = Store.counterpart(position, state.compare);
    if (other < 0 || other === position) return false;
    const c = index.columns;
    const ours = c.pattern[position].endsWith("1"), theirs = c.pattern[other].endsWith("1");
    if (state.versus === "better") return ours && !theirs;
    if (state.versus === "worse") return !ours && theirs;
    return c.answer[position] !== c.answer[other];
  }

  let texts = null;
  function quickText(position) {
    if (!texts) texts = new Array(Store.size);
    if (texts[position] === undefined) {
      const question = index.questions[index.columns.question[position]];
      const parts = [question.id, question.question, ...question.golds, index.columns.text[position]];
      texts[position] = parts.join("\n").toLowerCase();
    }
    return texts[position];
  }

  /** Positions that pass every filter but the text. */
  function candidates(state) {
    const columns = index.columns;
    const wanted = [];
    for (const [name, , options] of fields) {
      if (state[name]) wanted.push([columns[name], options.findIndex(([value]) => value === state[name])]);
    }
    const kept = [];
    for (let i = 0; i < Store.size; i++) {
      if (!wanted.every(([column, code]) => column[i] === code)) continue;
      if (state.outcome && !outcomeHolds(i, state.outcome)) continue;
      if (state.versus && state.compare && !versusHolds(i, state)) continue;
      kept.push(i);
    }
    return kept;
  }

  /** Positions whose question, queries or answers hold every word of the search. */
  function quick(positions, text) {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    return words.length ? positions.filter((i) => words.every((word) => quickText(i).includes(word))) : positions;
  }

  function everything(found) {
    const parts = found.record.hits.flatMap(([place]) => found.passages[place].slice(1));
    for (const episode of found.record.episodes) {
      for (const turn of episode.turns) {
        parts.push(turn.text, turn.observation);
        for (const [place] of turn.hits) parts.push(found.passages[place][1], found.passages[place][2]);
      }
    }
    return parts.join("\n").toLowerCase();
  }

  /** As `quick`, over thinking and passages too: goes through the chunks and reports what it found so far. */
  async function everywhere(positions, text, current, report) {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    const kept = [];
    let last = -1;
    for (const position of positions) {
      const number = Math.floor(position / index.chunk);
      if (number !== last) {
        if (last >= 0) Store.drop(last);
        last = number;
        report(kept.slice(), number / Store.chunks);
      }
      const found = await Store.record(position);
      if (!current()) return null;
      const whole = quickText(position) + "\n" + everything(found);
      if (words.every((word) => whole.includes(word))) kept.push(position);
    }
    return kept;
  }

  return { fields, outcomes, versus, patterns, glyphs, candidates, quick, everywhere };
})();
