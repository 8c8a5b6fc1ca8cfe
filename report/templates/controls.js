"use strict";
// The controls: they look up what Python has answered for every combination of stops, and hold no rule of their own.
(() => {
  const { values, typeset, element } = edgequant;
  const { choices, tiles, cards, own } = values;
  const { sliders, preferences, texts } = choices;
  const form = document.getElementById("controls");
  const said = document.getElementById("said");
  const slot = (name) => said.querySelector(`[data-slot=${name}]`);
  const inputs = sliders.map((_, n) => document.getElementById(`limit-${n}`));

  // a slider goes from less to more: of a least speed the tightest stop, the first, is the one furthest right
  const turned = (n) => sliders[n].key.startsWith("min_");
  const place = (n, at) => turned(n) ? sliders[n].stops.length - 1 - at : at;

  const chosen = () => [
    ...inputs.map((input, n) => place(n, Number(input.value))),
    Number(form.elements.prefer.value),
  ];
  const answerAt = ([i, j, k, p]) => choices.answers[choices.index[
    ((i * sliders[1].stops.length + j) * sliders[2].stops.length + k) * preferences.length + p]];

  const standings = (at, answer) => {
    const stops = sliders.map((slider, n) => slider.stops[at[n]]);
    const bound = answer.bounded ? choices.source_out : [];
    const out = [...choices.always_out, ...stops.flatMap((stop) => stop.out), ...preferences[at[3]].out, ...bound];
    return choices.formats.map((name, format) => {
      const mine = out.filter((entry) => entry[0] === format);
      const codes = [...new Set(mine.map((entry) => entry[1]))];
      const reasons = [...new Set(mine.map((entry) => entry[2]))].map((n) => texts[n]);
      if (format === answer.pick) return { word: "pick", out: false, reasons: [] };
      if (format === answer.runner_up) return { word: "runner-up", out: false, reasons: [] };
      if (mine.length) return { word: `out: ${codes.join(", ")}`, out: true, reasons };
      if (stops[2].value === null) return { word: "fits", out: false, reasons: [] };
      return { word: stops[2].certified.includes(format) ? "certified" : "not certain", out: false, reasons: [] };
    });
  };

  const look = () => {
    const at = chosen();
    const answer = answerAt(at);
    const limits = Object.fromEntries(sliders.map((slider, n) => [slider.key, slider.stops[at[n]]]));
    return { at, answer, limits, standing: standings(at, answer) };
  };

  const line = (state, format) => `${choices.formats[format]} is out: ${state.standing[format].reasons.join("; ")}.`;
  const paragraphs = (found) => found.filter((text) => text).map((text) => element("p", {}, typeset(text)));

  const figures = (format) => tiles[format].map(([title, value]) => `${title.toLowerCase()} ${value}`).join(", ");
  const second = ({ runner_up: format }) => format === null ? [] : [
    element("b", {}, edgequant.visible(choices.formats[format])), element("p", {}, figures(format)),
  ];

  const tell = (state) => {
    const { answer } = state;
    const picked = answer.pick !== null;
    slot("kicker").textContent = picked ? "The pick, by your limits" : "No pick by your limits";
    slot("headline").textContent = typeset(texts[answer.headline]);
    slot("headline").classList.toggle("long", !picked);
    const reasons = [...answer.reasons.map((n) => texts[n]), ...answer.better_out.map((format) => line(state, format))];
    const changes = answer.changes.map((n) => texts[n]);
    slot("lead").textContent = typeset(picked ? reasons.shift() ?? "" : changes.join(" "));
    slot("tiles").hidden = !picked;
    slot("tiles").replaceChildren(...(picked ? tiles[answer.pick] : []).map(([title, value, detail]) =>
      element("div", {}, element("dt", {}, title), element("dd", {}, value, element("small", {}, detail)))));
    slot("cards").replaceChildren(...Object.entries(cards).flatMap(([title, name]) => {
      if (!picked) return [];
      const found = name === "runner_up" ? second(answer) : paragraphs([answer[name]].flat().map((n) => texts[n]));
      return found.length ? [element("div", {}, element("h3", {}, title), ...found)] : [];
    }));
    const more = [texts[answer.detail], ...reasons, texts[answer.runner_up_reason], texts[answer.without_source]].filter((text) => text);
    slot("more").hidden = !more.length;
    slot("reasons").replaceChildren(...more.map((text) => element("li", {}, typeset(text))));
  };

  const mark = (state) => {
    for (const row of document.querySelectorAll("tr[data-format]")) {
      const { word, out, reasons } = state.standing[row.dataset.format];
      const kind = word === "pick" ? "badge pick" : word === "runner-up" ? "badge second" : out ? "badge out" : "badge";
      const cell = row.querySelector(".verdict");
      const badge = out ? element("button", { type: "button", class: kind }, word) : element("span", { class: kind }, word);
      cell.replaceChildren(badge, element("div", { class: "because" }, ...paragraphs(reasons)));
      cell.dataset.order = word;
      row.dataset.out = out ? "1" : "0";
      row.classList.toggle("chosen", word === "pick");
    }
  };

  const label = (limits) => {
    sliders.forEach((slider, n) => {
      const { text, value } = limits[slider.key];
      const words = value === null ? text : `${turned(n) ? "at least" : "up to"} ${text} ${slider.unit}`.trim();
      inputs[n].setAttribute("aria-valuetext", typeset(words));
      document.getElementById(`limit-${n}-said`).textContent = typeset(words);
    });
  };

  const update = () => {
    const state = look();
    edgequant.state = state;
    label(state.limits);
    mark(state);
    tell(state);
    const { headline, pick } = state.answer;
    const live = pick === null ? texts[headline] : `${texts[headline]} ${figures(pick).replace(/^./, (c) => c.toUpperCase())}.`;
    document.getElementById("live").textContent = typeset(live);
    document.dispatchEvent(new CustomEvent("pick"));
  };

  // the report's own limits need not be stops: what stands there was written by Python, and comes back as it was
  const written = [said, ...document.querySelectorAll("tr[data-format] .verdict")].map((e) => [e, [...e.cloneNode(true).childNodes]]);
  const begin = () => {
    inputs.forEach((input, n) => { input.value = place(n, choices.start[n]); });
    form.elements.prefer.value = String(choices.start[3]);
    edgequant.state = own;
    label(own.limits);
    document.getElementById("live").textContent = "";
  };
  const restore = () => {
    begin();
    mark(own);
    for (const [e, nodes] of written) e.replaceChildren(...nodes.map((node) => node.cloneNode(true)));
    document.dispatchEvent(new CustomEvent("pick"));
  };

  form.hidden = choices.formats.length < 2;
  form.addEventListener("input", update);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", (event) => { event.preventDefault(); restore(); });
  begin();
})();
