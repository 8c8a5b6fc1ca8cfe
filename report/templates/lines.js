"use strict";
// Memory over the context: a predicted line for each format, what was measured, and limits.
const lines = (() => {
  const { plain, safe, short, digits, standing, isPick, marker, limit, frame, axis, note } = drawing;

  // labels at the ends of lines: those that would cover each other are spread evenly around where they want to be
  const apart = (wanted, room, top, bottom) => {
    const groups = [];
    for (const [y, i] of wanted.map((y, i) => [y, i]).sort((a, b) => a[0] - b[0])) {
      let group = { members: [i], sum: y };
      const start = (g) => Math.min(Math.max(g.sum / g.members.length - room * (g.members.length - 1) / 2, top), bottom - room * (g.members.length - 1));
      group.start = start(group);
      while (groups.length) {
        const above = groups[groups.length - 1];
        if (above.start + room * above.members.length <= group.start) break;
        groups.pop();
        group = { members: [...above.members, ...group.members], sum: above.sum + group.sum };
        group.start = start(group);
      }
      groups.push(group);
    }
    const found = new Array(wanted.length);
    for (const group of groups) group.members.forEach((i, n) => { found[i] = group.start + n * room; });
    return found;
  };

  return (figure, element, colours) => {
    const { lines: drawn, contexts, slider, device } = figure.data;
    const names = drawn.map((l) => short(l.name, 18));
    const margin = { l: 62, r: Math.max(...names.map((n) => n.length)) * 6.6 + 14, t: 14, b: 46 };
    const height = element.clientHeight - margin.t - margin.b;
    const at = (l, x) => l.intercept + l.slope * x;
    const along = Array.from({ length: 41 }, (_, n) => contexts[0] * (contexts[contexts.length - 1] / contexts[0]) ** (n / 40));
    const last = contexts[contexts.length - 1];
    const highest = Math.max(...drawn.flatMap((l) => [at(l, last), l.measured ?? 0]));
    const own = limit(slider);
    const limits = [
      ...(device <= 1.6 * highest ? [{ y: device, text: "the device", dash: "solid" }] : []),
      ...(own.value !== null && own.value * 1e-6 <= 1.6 * highest ? [{ y: own.value * 1e-6, text: `up to ${own.text}`, dash: "dash" }] : []),
    ];
    const top = Math.max(highest, ...limits.map((l) => l.y)) * 1.06;
    const pixel = (y) => height * (1 - y / top);
    const ends = apart(drawn.map((l) => pixel(at(l, last))), 13.5, 6, height - 4);
    const traces = drawn.map((l) => ({
      x: along, y: along.map((x) => at(l, x)), mode: "lines", type: "scatter",
      line: { color: colours.kinds[l.kind], width: isPick(l.name) ? 3.4 : 1.4, dash: standing(l.name).out ? "dot" : "solid" },
      hovertext: along.map((x) => `<b>${safe(l.name)}</b><br>predicted ${digits(at(l, x))} MB at ${Math.round(x).toLocaleString("en")} tokens`), hoverinfo: "text",
    }));
    const measured = drawn.filter((l) => l.measured !== null);
    traces.push({
      x: measured.map((l) => l.at), y: measured.map((l) => l.measured), mode: "markers", type: "scatter", cliponaxis: false,
      marker: marker(colours, measured, 9),
      hovertext: measured.map((l) => `<b>${safe(l.name)}</b><br>measured ${digits(l.measured)} MB`), hoverinfo: "text",
    });
    const said = (tokens) => tokens % 1024 === 0 ? `${tokens / 1024}k` : String(tokens);
    const few = contexts.filter((_, n) => (contexts.length - 1 - n) % (contexts.length > 6 ? 2 : 1) === 0);
    Plotly.react(element, traces, frame(element, colours, {
      margin,
      xaxis: axis(colours, { type: "log", range: [Math.log10(contexts[0]), Math.log10(last)], tickvals: few, ticktext: few.map(said), title: { text: "context, tokens (log)", standoff: 10 } }),
      yaxis: axis(colours, { range: [0, top], title: { text: "MB of memory", standoff: 4 }, nticks: 6 }),
      shapes: limits.map(({ y, dash }) => ({ type: "line", x0: 0, x1: 1, xref: "paper", y0: y, y1: y, line: { color: colours.bad, width: 1.5, dash } })),
      annotations: [
        ...drawn.map((l, i) => note(colours, { x: 1, xref: "paper", xanchor: "left", xshift: 6, y: top * (1 - ends[i] / height), yanchor: "middle", text: isPick(l.name) ? `<b>${names[i]}</b>` : names[i], font: { size: 11.5, color: standing(l.name).out ? colours.soft : colours.ink } })),
        ...limits.map(({ y, text }) => note(colours, { x: 0, xref: "paper", xanchor: "left", xshift: 4, y, yanchor: "bottom", yshift: 2, text: safe(text), bgcolor: colours.card })),
      ],
    }), plain);
  };
})();
