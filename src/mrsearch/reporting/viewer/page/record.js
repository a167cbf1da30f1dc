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
    if (turn.action === "summary") {
      block.append(make("div", "segment summary acted", make("span", "who", "writes down for the next episode"), make("span", "said", turn.text.trim())));
      return block;
    }
    for (const [kind, text] of segments(turn.text)) {
      const acted = kind === turn.action && text === turn.content.trim();
      const label = labels[kind] + (kind === "search" || kind === "answer" ? (acted ? "" : " (not its action)") : "");
      block.append(make("div", "segment " + kind + (acted ? " acted" : ""), make("span", "who", label), make("span", "said", text)));
    }
    if (turn.action === "invalid") block.append(make("div", "segment invalid", make("span", "who", "invalid action"), make("span", "said", "neither a search nor an answer")));
    return block;
  }

  function found(hits, passages, where) {
    const list = make("ol", "hits");
    for (const [place, score, gold] of hits) {
      const [id, title, text] = passages[place];
      const badge = gold ? make("span", "gold", "holds a gold answer") : null;
      const summary = make("summary", "", make("b", "", title || id), make("span", "score", "score " + number(score, 3)), badge);
      list.append(make("li", "", make("details", "passage", summary, make("p", "", text))));
    }
    const words = hits.length + (hits.length > 1 ? " passages" : " passage") + where;
    return make("div", "observation", make("span", "who", words), list);
  }

  function observation(turn, passages) {
    if (turn.hits.length) return found(turn.hits, passages, turn.action === "search" ? "" : " in its prompt");
    const text = turn.observation.trim();
    return text ? make("div", "observation", make("span", "who", "environment"), make("span", "said", text)) : null;
  }

  function turnBlock(turn, passages, number_) {
    const aside = turn.aside ? " · " + turn.aside + " tokens beside the transcript" : "";
    const facts = "turn " + number_ + " · " + turn.tokens + " tokens · mean log-probability " + number(turn.logprob, 3) + aside;
    const parts = [generation(turn), observation(turn, passages)];
    if (turn.hits.length && turn.action !== "search") parts.reverse();
    return make("li", "turn", make("p", "facts", facts), ...parts);
  }

  const signed = (value) => (value > 0 ? "+" : "") + value.toFixed(3);

  function episodeBlock(episode, passages, number_, name, advantage) {
    const right = episode.em === 1;
    const head = make("h3", right ? "right" : "wrong",
      make("span", "sign", right ? "✓" : "✗"), name + " " + number_,
      make("span", "answer-text", episode.answer === null ? "no answer" : episode.answer));
    const facts = ["EM " + number(episode.em, 0), "F1 " + number(episode.f1, 2), episode.searches + (episode.searches === 1 ? " search" : " searches"),
      episode.generated_tokens + " generated tokens", "ended: " + episode.stop.replace("_", " ")];
    if (episode.return !== null) facts.push("EM from here on " + number(episode.return, 0));
    if (advantage !== undefined) facts.push("advantage " + signed(advantage));
    const turns = make("ol", "turns");
    episode.turns.forEach((turn, i) => turns.append(turnBlock(turn, passages, i + 1)));
    return make("section", "episode", head, make("p", "facts", facts.join(" · ")), turns);
  }

  /** Rewards and, where episodes have them, advantages of a training's group: a row per member, a column per episode. */
  function groupTable(group, position) {
    const episodes = Math.max(...group.rewards.map((rewards) => rewards.length));
    const head = make("tr", "", make("th", "", "Member"));
    for (let n = 1; n <= episodes; n++) head.append(make("th", "", "Episode " + n));
    const body = make("tbody", "");
    group.rewards.forEach(function (rewards, member) {
      const link = make("a", "", String(member + 1));
      const address = new URLSearchParams(location.hash.slice(1));
      address.set("record", Store.key(Store.member(position, member)));
      link.href = "#" + address.toString();
      const row = make("tr", member === group.member ? "current" : "", make("td", "", link));
      if (member === group.member) row.setAttribute("aria-current", "true");
      rewards.forEach(function (reward, n) {
        const cell = make("td", "", number(reward, Number.isInteger(reward) ? 0 : 2));
        if (group.advantages) cell.append(" · ", make("b", "", signed(group.advantages[member][n])));
        row.append(cell);
      });
      body.append(row);
    });
    const alike = index.columns.instructive[position] ? "" : ", all alike: nothing to learn from";
    const caption = "Its group: reward" + (group.advantages ? " · advantage" : "") + alike;
    return make("div", "group", make("table", "", make("caption", "", caption), make("thead", "", head), body));
  }

  /** The first prompt, closed; passages that it holds are shown where they are listed. */
  function firstPrompt(prompts, question) {
    const filled = prompts.first.split("{information}").join("[passages, see below]").split("{question}").join(question);
    const system = prompts.system ? [make("span", "who", "system message"), make("span", "said", prompts.system.trim())] : [];
    return make("details", "prompt", make("summary", "", "First prompt"), ...system,
      make("span", "who", prompts.templated ? "user message, before the model's chat template" : "plain text"), make("span", "said", filled.trim()));
  }

  /** The element that shows one record. */
  function render(position, held) {
    const c = index.columns;
    const question = index.questions[c.question[position]];
    const record = held.record, passages = held.passages;
    const prompts = index.prompts[c.study[position]][index.methods[c.method[position]].id];
    const pane = make("article", "pane");
    pane.tabIndex = -1;
    pane.append(
      make("p", "facts", [...(index.studies.length > 1 ? [index.studies[c.study[position]]] : []), index.methods[c.method[position]].label, index.benchmarks[c.benchmark[position]].label,
        index.models[c.model[position]], index.decodings[c.decoding[position]], "seed " + index.seeds[c.seed[position]],
        question.id, ...(record.group ? ["member " + (record.group.member + 1)] : [])].join(" · ")),
      make("h2", "", question.question),
      make("p", "golds", "Gold: ", ...question.golds.map((gold) => make("span", "gold", gold))),
      make("p", "facts", record.tokens + " tokens in all · prompt " + record.prompt_tokens + " · context " + record.context +
        " · ended: " + record.stop.replace("_", " ") + (record.failures ? " · " + record.failures + " failed searches" : "")));
    if (record.group) pane.append(groupTable(record.group, position));
    pane.append(firstPrompt(prompts, question.question));
    if (record.hits.length) pane.append(found(record.hits, passages, " in its first prompt"));
    const samples = record.context === "independent" && record.episodes.length > 1;
    record.episodes.forEach(function (episode, i) {
      if (i && samples) pane.append(make("p", "reflection", make("span", "who", "again, from the prompt alone")));
      else if (i) pane.append(make("p", "reflection", make("span", "who", "reflection prompt"), make("span", "said", prompts.reflection)));
      const advantage = record.group && record.group.advantages ? record.group.advantages[record.group.member][i] : undefined;
      pane.append(episodeBlock(episode, passages, i + 1, samples ? "Sample" : "Episode", advantage));
    });
    if (!record.episodes.length) pane.append(make("p", "facts", "No episode ran."));
    return pane;
  }

  return { render, segments, make };
})();
