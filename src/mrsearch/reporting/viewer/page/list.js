"use strict";
// The list of records. Only the rows in sight are in the page, so that 20,000 stay smooth.
function RecordList(box, onSelect) {
  const ROW = 58;
  const MARGIN = 8;
  const index = Store.index;
  const spacer = document.createElement("div");
  spacer.className = "spacer";
  box.append(spacer);
  const drawn = new Map(); // place in the list -> its row
  let positions = [];
  let selected = -1;
  let planned = false;

  function row(place) {
    const position = positions[place];
    const c = index.columns;
    const element = document.createElement("div");
    element.className = "row";
    element.id = "row-" + position;
    element.setAttribute("role", "option");
    element.setAttribute("aria-setsize", String(positions.length));
    element.setAttribute("aria-posinset", String(place + 1));
    element.style.transform = "translateY(" + place * ROW + "px)";
    const question = document.createElement("span");
    question.className = "question";
    question.textContent = index.questions[c.question[position]].question;
    const about = document.createElement("span");
    about.className = "about";
    about.append(outcome(c.pattern[position]));
    const words = index.studies.length > 1 ? [index.studies[c.study[position]]] : [];
    words.push(index.methods[c.method[position]].label);
    if (c.member[position] !== null) words.push("member " + (c.member[position] + 1));
    words.push(index.benchmarks[c.benchmark[position]].label);
    if (index.models.length > 1) words.push(index.models[c.model[position]]);
    if (index.decodings.length > 1) words.push(index.decodings[c.decoding[position]]);
    if (index.seeds.length > 1) words.push("seed " + index.seeds[c.seed[position]]);
    about.append(document.createTextNode(words.join(" · ")));
    element.append(question, about);
    element.addEventListener("click", function () { onSelect(position); });
    return element;
  }

  /** Rows that stay in sight stay the same elements: a click on one that is replaced half-way is lost. */
  function draw() {
    planned = false;
    const first = Math.max(0, Math.floor(box.scrollTop / ROW) - MARGIN);
    const last = Math.min(positions.length, Math.ceil((box.scrollTop + box.clientHeight) / ROW) + MARGIN);
    for (const [place, element] of drawn) {
      if (place < first || place >= last) {
        element.remove();
        drawn.delete(place);
      }
    }
    let after = null;
    for (let place = last - 1; place >= first; place--) {
      if (!drawn.has(place)) {
        drawn.set(place, row(place));
        spacer.insertBefore(drawn.get(place), after);
      }
      after = drawn.get(place);
      after.classList.toggle("selected", positions[place] === selected);
      after.setAttribute("aria-selected", String(positions[place] === selected));
    }
  }

  function plan() {
    if (!planned) {
      planned = true;
      requestAnimationFrame(draw);
    }
  }

  box.addEventListener("scroll", plan, { passive: true });
  new ResizeObserver(plan).observe(box);

  return {
    /** Show these positions. */
    show(found) {
      positions = found;
      drawn.clear();
      spacer.replaceChildren();
      spacer.style.height = positions.length * ROW + "px";
      draw();
    },
    /** Mark a position and bring it into sight. */
    select(position) {
      selected = position;
      const place = positions.indexOf(position);
      if (place >= 0) {
        const top = place * ROW;
        if (top < box.scrollTop) box.scrollTop = top;
        else if (top + ROW > box.scrollTop + box.clientHeight) box.scrollTop = top + ROW - box.clientHeight;
        box.setAttribute("aria-activedescendant", "row-" + position);
      }
      draw();
    },
    /** The position `step` rows after the selected one. */
    neighbour(step) {
      const place = positions.indexOf(selected);
      const next = place < 0 ? 0 : Math.min(positions.length - 1, Math.max(0, place + step));
      return positions.length ? positions[next] : -1;
    },
  };
}

/** A pattern of right and wrong episodes, as signs with a spoken label. */
function outcome(pattern) {
  const element = document.createElement("span");
  element.className = "outcome";
  element.setAttribute("role", "img");
  element.setAttribute("aria-label", [...pattern].map((c) => (c === "1" ? "right" : "wrong")).join(", then ") || "no episode");
  for (const c of pattern) {
    const sign = document.createElement("span");
    sign.className = c === "1" ? "right" : "wrong";
    sign.textContent = c === "1" ? "✓" : "✗";
    element.append(sign);
  }
  return element;
}
