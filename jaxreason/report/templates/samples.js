"use strict";
// The browser of samples. Texts only ever become text nodes, so nothing that a model wrote is read as HTML.
(() => {
  const KINDS = new Map([
    ["", "all"], ["changed", "changed"], ["10", "right to wrong"], ["01", "wrong to right"],
    ["00", "both wrong"], ["11", "both right"], ["?", "without a score"],
  ]);
  const PAGE = 5;
  const FILES_KEPT = 8;
  const box = document.getElementById("samples");
  const text = document.getElementById("samples-data").textContent;

  const element = (name, about = {}, ...children) => {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(about)) {
      if (value !== null && value !== undefined) made.setAttribute(key, value);
    }
    made.append(...children.filter((child) => child !== null));
    return made;
  };
  const visible = (said) => String(said).replace(/[\u0000-\u0008\u000b-\u001f]/g, (c) => String.fromCharCode(0x2400 + c.charCodeAt(0)));
  const marked = (said, wanted) => {
    const shown = visible(said);
    const lower = shown.toLowerCase();
    const parts = [];
    let from = 0;
    if (wanted && lower.length === shown.length) {
      for (let at = lower.indexOf(wanted); at >= 0 && parts.length < 2000; at = lower.indexOf(wanted, from)) {
        parts.push(shown.slice(from, at), element("mark", {}, shown.slice(at, at + wanted.length)));
        from = at + wanted.length;
      }
    }
    return [...parts, shown.slice(from)];
  };

  // An archive: an index, and entries by key. That of the page is whole; that of the files comes script by script.
  const pageArchive = () => {
    const found = JSON.parse(text);
    return { ...found, entry: async (key) => found.data[key] ?? null };
  };
  const loadScript = (name) => new Promise((done, failed) => {
    const script = element("script", { src: `samples/${name}.js` });
    script.onload = () => { script.remove(); done(); };
    script.onerror = () => { script.remove(); failed(new Error(`samples/${name}.js was not found beside this page.`)); };
    document.head.append(script);
  });
  const fileArchive = async () => {
    let index = null;
    const files = new Map();
    window.jaxreasonIndex = (value) => { index = value; };
    window.jaxreasonSamples = (number, entries) => { files.set(number, entries); };
    await loadScript("index");
    const waiting = new Map();
    const entry = async (key) => {
      const number = index.files[key];
      if (number === undefined) return null;
      if (!files.has(number)) {
        if (!waiting.has(number)) waiting.set(number, loadScript(number).finally(() => waiting.delete(number)));
        await waiting.get(number);
      }
      const found = files.get(number);
      files.delete(number);
      files.set(number, found); // the latest used is the last
      while (files.size > FILES_KEPT) files.delete(files.keys().next().value);
      return found[key] ?? null;
    };
    return { ...index, entry };
  };

  const at = async (archive, set, place, model) => {
    const ends = archive.sets[set].ends;
    const part = ends.findIndex((end) => place < end);
    const who = model === null ? "q" : `m${model}`;
    const entry = await archive.entry(`s${set}-${who}-p${part}`);
    return entry ? entry[place - (part ? ends[part - 1] : 0)] : null;
  };
  const pairAt = async (archive, set, place, run) => {
    const base = archive.models[run].base;
    return {
      set, place,
      question: await at(archive, set, place, null),
      models: [base, run],
      replies: [await at(archive, set, place, base), await at(archive, set, place, run)],
    };
  };

  // Controls
  const state = { archive: null, hits: [], page: 0, turn: 0, wanted: "" };
  const field = (label, control) => element("label", {}, label, control);
  const options = (control, pairs) => {
    const before = control.value;
    control.replaceChildren(...pairs.map(([value, label]) => element("option", { value }, label)));
    if (pairs.some(([value]) => String(value) === before)) control.value = before;
  };
  const source = element("select");
  const set = element("select");
  const arm = element("select");
  const seed = element("select");
  const kind = element("select");
  const search = element("input", { type: "search", autocomplete: "off" });
  const status = element("output", { "aria-live": "polite" });
  const back = element("button", { type: "button" }, "Previous");
  const next = element("button", { type: "button" }, "Next");
  const list = element("div", { tabindex: "-1", "aria-label": "Samples found", role: "region" });
  options(source, [["page", "chosen, in this page"], ["files", "all, in samples/"]]);
  options(kind, [...KINDS]);
  box.append(
    element("form", { class: "filters", role: "search", "aria-label": "Samples" },
      field("Samples", source), field("Benchmark", set), field("Arm", arm), field("Seed", seed), field("Base and arm", kind), field("Search in texts", search)),
    element("div", { class: "pager" }, back, next, status),
    list,
  );

  const isRun = (model) => model.seed !== null;
  const fillArms = () => {
    const { archive } = state;
    const names = new Map(archive.models.filter(isRun).map((model) => [model.name, model.label]));
    options(arm, [...names]);
    options(set, [["", "all"], ...archive.sets.map((one, i) => [i, one.label]).filter(([i]) => archive.sets[i].count)]);
    fillSeeds();
  };
  const fillSeeds = () => {
    const runs = state.archive.models.map((model, i) => [i, model]).filter(([, model]) => isRun(model) && model.name === arm.value);
    const there = state.archive.data ? runs.slice(0, 1) : runs;
    options(seed, there.map(([i, model]) => [i, model.seed]));
    seed.disabled = there.length < 2;
  };
  const kindOf = (pair) => (/^[01]{2}$/.test(pair) ? pair : "?");
  const fits = (pair) => kind.value === "" || kindOf(pair) === kind.value || (kind.value === "changed" && ["10", "01"].includes(pair));

  const find = async () => {
    const turn = ++state.turn;
    const { archive } = state;
    const run = Number(seed.value);
    const base = archive.models[run].base;
    const numbers = set.value === "" ? archive.sets.map((_, i) => i) : [Number(set.value)];
    const hits = [];
    state.wanted = search.value.trim().toLowerCase();
    for (const number of numbers) {
      const marks = await archive.entry(`s${number}-v`);
      if (turn !== state.turn) return;
      const [first, second] = [marks?.[base], marks?.[run]];
      if (!first || !second) continue;
      for (let place = 0; place < first.length; place++) {
        const pair = first[place] + second[place];
        if (pair.includes(" ") || !fits(pair)) continue;
        if (state.wanted) {
          if (place % 50 === 0) status.textContent = `Searching ${archive.sets[number].label} …`;
          const found = await pairAt(archive, number, place, run);
          if (turn !== state.turn) return;
          if (!holds(found, state.wanted)) continue;
        }
        hits.push([number, place, kindOf(pair)]);
      }
    }
    state.hits = hits;
    state.run = run;
    state.page = 0;
    await show(turn);
  };
  const holds = (pair, wanted) => {
    const texts = [pair.question.id, pair.question.prompt, pair.question.answer];
    for (const reply of pair.replies) {
      if (reply) texts.push(reply.reply, reply.prompt ?? "", ...reply.grades.map((grade) => grade?.extracted ?? ""));
    }
    return texts.some((said) => visible(said).toLowerCase().includes(wanted));
  };

  const pre = (said, label) => element("pre", said.length > 900 ? { tabindex: "0", role: "region", "aria-label": label, dir: "auto" } : { dir: "auto" }, ...marked(said, state.wanted));
  const score = (grade, metric) => {
    if (!grade) return "not graded";
    if (grade.error !== null) return `no score (${visible(grade.error)})`;
    const all = Object.entries(grade.scores).map(([name, value]) => `${name} ${Math.round(value * 1000) / 1000}`);
    const own = grade.scores[metric];
    return own === undefined || all.length > 1 ? all.join(", ") : String(Math.round(own * 1000) / 1000);
  };
  const side = (label, about, reply, question) => {
    const side = element("div", {}, element("h5", {}, label));
    if (!reply) return side;
    if (reply.prompt !== undefined) side.append(element("p", { class: "note" }, "Asked in other words:"), pre(reply.prompt, `Prompt of ${label}`));
    if (reply.choices) {
      const best = Math.max(...reply.choices.map((choice) => choice[1]));
      side.append(element("p", { class: "note" }, "Chosen by likelihood (nats):"), element("dl", {}, ...reply.choices.flatMap(([name, value]) =>
        [element("dt", {}, value.toFixed(2)), element("dd", {}, ...(value === best ? [element("b", {}, ...marked(name, state.wanted))] : marked(name, state.wanted)))])));
    } else side.append(pre(reply.reply, `Reply of ${label}`));
    const facts = element("dl");
    about.ways.forEach((way, i) => {
      const name = about.ways.length > 1 ? ` (${way})` : "";
      const extracted = reply.grades[i]?.extracted;
      facts.append(element("dt", {}, `Extracted${name}`), element("dd", { dir: "auto" }, ...(extracted === null || extracted === undefined ? ["–"] : marked(extracted, state.wanted))));
      facts.append(element("dt", {}, `Score${name}`), element("dd", {}, score(reply.grades[i], about.metrics[i])));
    });
    const size = reply.tokens === null ? "" : `${reply.tokens.toLocaleString("en")} tokens, `;
    if (!reply.choices) facts.append(element("dt", {}, "Ended"), element("dd", {}, visible(size + (reply.finish === "length" ? "cut at the limit" : reply.finish))));
    side.append(facts);
    return side;
  };
  const card = (pair, sort) => {
    const { archive } = state;
    const about = archive.sets[pair.set];
    const { question } = pair;
    const tone = { "10": " down", "01": " up" }[sort] ?? "";
    const names = pair.models.map((i) => archive.models[i]).map((m) => (m.seed === null ? m.label : `${m.label}, seed ${m.seed}`));
    const where = visible([question.id, question.subset, question.sample ? `sample ${question.sample + 1}` : ""].filter(Boolean).join(" · "));
    return element("article", { class: "sample" },
      element("h4", {}, `${about.label} `, element("span", {}, ...marked(where, state.wanted)), " ", element("span", { class: `kind${tone}` }, KINDS.get(sort))),
      pre(question.prompt, "Prompt"),
      element("dl", {}, element("dt", {}, "Right answer"), element("dd", { dir: "auto" }, ...marked(question.answer, state.wanted))),
      element("div", { class: "pair" }, ...pair.replies.map((reply, i) => side(names[i], about, reply, question))));
  };
  const show = async (turn = ++state.turn) => {
    const { hits, page, archive } = state;
    const from = page * PAGE;
    const cards = [];
    for (const [number, place, sort] of hits.slice(from, from + PAGE)) {
      cards.push(card(await pairAt(archive, number, place, state.run), sort));
      if (turn !== state.turn) return;
    }
    list.replaceChildren(...cards);
    back.disabled = page === 0;
    next.disabled = from + PAGE >= hits.length;
    status.textContent = hits.length ? `${from + 1} to ${Math.min(from + PAGE, hits.length)} of ${hits.length.toLocaleString("en")}` : "No such sample.";
  };

  const failed = (error) => { status.textContent = error.message; };
  const use = async (name) => {
    state.archive = name === "page" ? pageArchive() : await fileArchive();
    fillArms();
    await find();
  };
  const turnTo = (page) => { state.page = page; show().then(() => list.focus({ preventScroll: true })).then(() => list.scrollIntoView({ block: "nearest" })).catch(failed); };
  source.addEventListener("change", () => use(source.value).catch((error) => { source.value = "page"; use("page").then(() => failed(error)); }));
  arm.addEventListener("change", () => { fillSeeds(); find().catch(failed); });
  for (const control of [set, seed, kind]) control.addEventListener("change", () => find().catch(failed));
  let typing = null;
  search.addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(() => find().catch(failed), 300); });
  box.querySelector("form").addEventListener("submit", (event) => { event.preventDefault(); find().catch(failed); });
  back.addEventListener("click", () => turnTo(state.page - 1));
  next.addEventListener("click", () => turnTo(state.page + 1));
  kind.value = "changed";
  use("page").then(() => document.getElementById("samples-first").remove()).catch(failed);
})();
