"use strict";
// One meta-episode in full. Whatever comes from a model or a corpus goes into text nodes.
var Record = (function () {
  const index = Store.index;

  function make(tag, className, ...content) {
    const element = document.createElement(tag);
    if (className) element.className = className;
    element.append(...content.filter((part) => part !== null && part !== undefined));
    return element;
  }

  const number = (value, digits) => (value === null ? "–" : value.toFixed(digits));

  /** A generation, cut at its tags: [kind, text] with kind think, search, answer, information or plain. */
  function segments(text) {
    const tags = /<(think|search|answer|information)>([\s\S]*?)(?:<\/\1>|$)/g;
    const found = [];
    let end = 0;
    for (const match of text.matchAll(tags)) {
      if (text.slice(end, match.index).trim()) found.push(["plain", text.slice(end, match.index).trim()]);
      found.push([match[1], match[2].trim()]);
      end = match.index + match[0].length;
    }
    if (text.slice(end).trim()) found.push(["plain", text.slice(end).trim()]);
    return found;
  }

  const labels = {
    think: "thinks", search: "searches", answer: "answers", plain: "writes",
    information: "writes an information block itself (not believed)",
  };

  function generation(turn) {
    const block = make("div", "generation");
    for (const [kind, text] of segments(turn.text)) {
      const acted = kind === turn.action && text === turn.content.trim();
      const label = labels[kind] + (kind === "search" || kind === "answer" ? (acted ? "" : " (not its action)") : "");
      block.append(make("div", "segment " + kind + (acted ? " acted" : ""), make("span", "who", label), make("span", "said", text)));
    }
    if (turn.action === "invalid") block.append(make("div", "segment invalid", make("span", "who", "invalid action"), make("span", "said", "neither a search nor an answer")));
    return block;
  }

  function observation(turn, passages) {
    if (!turn.hits.length) {
      return turn.observation.trim() ? make("div", "observation", make("span", "who", "environment"), make("span", "said", turn.observation.trim())) : null;
    }
    const list = make("ol", "hits");
    for (const [place, score, gold] of turn.hits) {
      const [id, title, text] = passages[place];
      const badge = gold ? make("span", "gold", "holds a gold answer") : null;
      const summary = make("summary", "", make("b", "", title || id), make("span", "score", "score " + number(score, 3)), badge);
      list.append(make("li", "", make("details", "passage", summary, make("p", "", text))));
    }
    const words = turn.hits.length + (turn.hits.length > 1 ? " passages" : " passage") + (turn.action === "search" ? "" : " in its prompt");
    return make("div", "observation", make("span", "who", words), list);
  }

  function turnBlock(turn, passages, number_) {
    const facts = "turn " + number_ + " · " + turn.tokens + " tokens · mean log-probability " + number(turn.logprob, 3);
    const parts = [generation(turn), observation(turn, passages)];
    if (turn.hits.length && turn.action !== "search") parts.reverse();
    return make("li", "turn", make("p", "facts", facts), ...parts);
  }

  function episodeBlock(episode, passages, number_) {
    const tokens = episode.turns.reduce((sum, turn) => sum + turn.tokens, 0);
    const searches = episode.turns.filter((turn) => turn.action === "search" || turn.hits.length).length;
    const right = episode.em === 1;
    const head = make("h3", right ? "right" : "wrong",
      make("span", "sign", right ? "✓" : "✗"), "Episode " + number_,
      make("span", "answer-text", episode.answer === null ? "no answer" : episode.answer));
    const facts = ["EM " + number(episode.em, 0), "F1 " + number(episode.f1, 2), searches + (searches === 1 ? " search" : " searches"),
      tokens + " generated tokens", "ended: " + episode.stop.replace("_", " ")];
    if (episode.advantage !== null) facts.push("advantage " + number(episode.advantage, 3));
    const turns = make("ol", "turns");
    episode.turns.forEach((turn, i) => turns.append(turnBlock(turn, passages, i + 1)));
    return make("section", "episode", head, make("p", "facts", facts.join(" · ")), turns);
  }

  /** The element that shows one record. */
  function render(position, found) {
    const c = index.columns;
    const question = index.questions[c.question[position]];
    const record = found.record;
    const pane = make("article", "pane");
    pane.tabIndex = -1;
    pane.append(
      make("p", "facts", [index.methods[c.method[position]].label, index.benchmarks[c.benchmark[position]].label,
        index.models[c.model[position]], index.decodings[c.decoding[position]], "seed " + index.seeds[c.seed[position]],
        question.id].join(" · ")),
      make("h2", "", question.question),
      make("p", "golds", "Gold: ", ...question.golds.map((gold) => make("span", "gold", gold))),
      make("p", "facts", record.tokens + " tokens in all · prompt " + record.prompt_tokens + " · context " + record.context +
        " · ended: " + record.stop.replace("_", " ") + (record.failures ? " · " + record.failures + " failed searches" : "")));
    record.episodes.forEach(function (episode, i) {
      if (i) pane.append(make("p", "reflection", make("span", "who", "reflection prompt"), make("span", "said", index.reflection)));
      pane.append(episodeBlock(episode, found.passages, i + 1));
    });
    if (!record.episodes.length) pane.append(make("p", "facts", "No episode ran."));
    return pane;
  }

  return { render, segments, make };
})();
