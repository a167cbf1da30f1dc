"use strict";
// The index and the chunks. data/index.js sets mrsearchIndexText, every other data file calls mrsearchChunk; both hold a
// string of JSON.
var Store = (function () {
  const arrived = new Map();
  const wanted = new Map();
  const arrivals = new Map();

  window.mrsearchChunk = function (text) {
    const chunk = JSON.parse(text);
    arrived.set(chunk.number, chunk);
    if (arrivals.has(chunk.number)) arrivals.get(chunk.number)(chunk);
  };

  if (!window.mrsearchIndexText) {
    document.body.textContent = "data/index.js cannot be loaded: keep the folder 'data' beside this page";
    throw new Error("no index");
  }
  const index = JSON.parse(window.mrsearchIndexText);

  /** Chunk `number`, loaded at most once while it is kept. */
  function chunk(number) {
    if (!wanted.has(number)) {
      wanted.set(number, new Promise(function (resolve, reject) {
        arrivals.set(number, resolve);
        const script = document.createElement("script");
        script.src = "data/" + number + ".js";
        script.onload = function () { script.remove(); };
        script.onerror = function () {
          script.remove();
          wanted.delete(number);
          reject(new Error("data/" + number + ".js cannot be loaded: keep the folder 'data' beside this page"));
        };
        document.head.append(script);
      }));
    }
    return wanted.get(number);
  }

  /** Forget a chunk's content, so that looking through all of them does not fill the memory. */
  function drop(number) {
    arrived.delete(number);
    wanted.delete(number);
    arrivals.delete(number);
  }

  /** Record `position` of the index with its passages: {record, passages}. */
  async function record(position) {
    const found = await chunk(Math.floor(position / index.chunk));
    return { record: found.records[position % index.chunk], passages: found.passages };
  }

  const size = index.columns.model.length;
  const chunks = Math.ceil(size / index.chunk);

  /** Key of a permanent link: readable, and the same after the page was made again. */
  function key(position) {
    const c = index.columns;
    const member = c.member[position] === null ? [] : [String(c.member[position] + 1)];
    return [
      index.studies[c.study[position]],
      index.models[c.model[position]],
      index.methods[c.method[position]].id,
      index.seeds[c.seed[position]],
      index.decodings[c.decoding[position]],
      index.benchmarks[c.benchmark[position]].id,
      index.questions[c.question[position]].id,
      ...member,
    ].map(encodeURIComponent).join("/");
  }

  let positions = null;
  function positionOf(wantedKey) {
    if (!positions) {
      positions = new Map();
      for (let i = 0; i < size; i++) positions.set(key(i), i);
    }
    return positions.has(wantedKey) ? positions.get(wantedKey) : -1;
  }

  /** Another member of the group that a training's meta-episode belongs to. */
  function member(position, number) {
    return positionOf(key(position).split("/").slice(0, 7).concat(String(number + 1)).join("/"));
  }

  /** The same question under another method, all else equal; -1 where there is none. */
  function counterpart(position, method) {
    const parts = key(position).split("/");
    parts[2] = encodeURIComponent(method);
    return positionOf(parts.join("/"));
  }

  return { index, size, chunks, chunk, drop, record, key, positionOf, member, counterpart };
})();
