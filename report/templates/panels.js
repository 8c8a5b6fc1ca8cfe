"use strict";
// Pictures with a line for each format, several side by side: losses, spreads, measured and predicted.
const panels = (() => {
  const { plain, clear, safe, short, digits, standing, isPick, marker, limit, scaled, widthOf, frame, axis, note, upright } = drawing;

  // roles of marks, in the order in which they cover each other
  const roles = ["band", "open", "p999", "p99", "value"];
  const thin = { band: "line-ns", p999: "x-thin" };
  const look = (colours, role, panel, found) => {
    const made = marker(colours, found.map((m) => ({
      ...m.r, hollow: role === "open" || (role === "value" && !panel.joined && !panel.device && standing(m.r.name).out),
    })), role === "band" ? 13 : 9);
    if (role === "p99") return { ...made, symbol: "triangle-right" };
    if (!thin[role]) return made;
    const colour = found.map((m) => role === "band" ? colours.soft : colours.kinds[m.r.kind]);
    return { ...made, symbol: thin[role], color: colour, size: role === "band" ? 13 : 8, line: { width: 2, color: colour } };
  };
  const span = (colours, role) => role === "band"
    ? { thickness: 9, width: 0, color: colours.band } : { thickness: 1.6, width: 3, color: colours.soft };

  // round numbers at both sides of zero, so that neighbours' labels keep apart
  const around = ([low, top]) => {
    const size = 0.75 * Math.max(-low, top);
    const power = 10 ** Math.floor(Math.log10(size));
    const step = power * [5, 2, 1].find((m) => m * power <= size);
    return [-step, 0, step].filter((x) => x >= low && x <= top);
  };
  const ticked = (panel, cell) => panel.ticks.filter((_, n) => cell > 320 || n % 2);

  // without the number of items where there is no room for it
  const titled = (title, most) => short(title.length <= most ? title : title.replace(/ \(\d+\)$/, ""), most);

  // small pictures side by side, or below each other where there is no room; each line is a format
  return (figure, element, colours) => {
    const { panels: drawn, shared } = figure.data;
    const names = drawn[0].rows.map((r) => r.name);
    const width = widthOf(element);
    const most = width < 420 ? 16 : 22;
    const left = Math.min(150, 18 + Math.max(...names.map((n) => Math.min(n.length, most))) * 6.7);
    const columns = Math.max(1, Math.min(drawn.length, Math.floor((width - left) / 118)));
    const high = Math.ceil(drawn.length / columns);
    const step = names.length * (width < 420 ? 21 : 23) + 10;
    const [head, foot] = [drawn[0].title ? 26 : 8, 40];
    element.style.height = `${high * (step + head + foot)}px`;
    element.style.minHeight = "0";
    const total = high * (step + head + foot);
    const gap = 14;
    const cell = (width - left - 14 - gap * (columns - 1)) / columns;
    const ends = drawn.flatMap((p) => p.rows.flatMap((r) => r.marks.flatMap((m) => [m.low ?? m.x, m.high ?? m.x])));
    const reach = (panel) => {
      const found = shared ? ends : panel.rows.flatMap((r) => r.marks.flatMap((m) => [m.low ?? m.x, m.high ?? m.x]));
      const own = limit(panel.slider).value;
      const near = [panel.device, own === null ? undefined : own * scaled(panel.slider)].filter((x) => x !== undefined && x <= 1.6 * Math.max(...found));
      const [low, top] = [Math.min(...found, ...(panel.zero ? [0] : []), ...near), Math.max(...found, ...(panel.zero ? [0] : []), ...near)];
      if (panel.log) return [Math.log10(panel.lowest) - 0.1, Math.log10(top) + 0.12];
      const pad = Math.max((top - low) * 0.06, 1e-9);
      return [panel.from_zero || panel.unit === "MB" ? 0 : low - pad, top + pad];
    };
    const layout = { shapes: [], annotations: [] };
    const traces = [];
    drawn.forEach((panel, n) => {
      const [row, column] = [Math.floor(n / columns), n % columns];
      const id = n ? String(n + 1) : "";
      const x0 = column * (cell + gap) / (width - left - 14);
      const from = 1 - (row * (step + head + foot) + head) / total;
      layout[`xaxis${id}`] = axis(colours, {
        domain: [x0, Math.min(1, x0 + cell / (width - left - 14))], anchor: `y${id}`, range: reach(panel), tickangle: 0,
        ...(panel.zero ? { tickvals: around(reach(panel)) } : { nticks: cell < 170 ? 4 : 8 }),
        ...(panel.log ? { type: "log", tickvals: [panel.lowest, ...ticked(panel, cell)], ticktext: ["\u2248 0", ...ticked(panel, cell).map(String)] } : {}),
        ...(drawn[0].title ? {} : { title: { text: safe(panel.unit), standoff: 8 } }),
      });
      layout[`yaxis${id}`] = axis(colours, {
        domain: [Math.max(0, from - step / total), from], anchor: `x${id}`, range: [names.length - 0.4, -0.6], gridcolor: clear,
        tickvals: names.map((_, i) => i), tickfont: { size: 11.5, color: colours.ink }, showticklabels: column === 0,
        ticktext: names.map((name) => isPick(name) ? `<b>${short(name, most)}</b>` : short(name, most)),
      });
      if (panel.title) layout.annotations.push(note(colours, { text: `<b>${titled(panel.title, Math.floor(cell / 7.2))}</b>`, x: x0, xref: "paper", xanchor: "left", y: from, yref: "paper", yanchor: "bottom", yshift: 3, font: { size: 12, color: colours.ink } }));
      panel.rows.forEach((r, i) => {
        if (isPick(r.name)) layout.shapes.push({ type: "rect", x0: 0, x1: 1, xref: `x${id} domain`, y0: i - 0.48, y1: i + 0.48, yref: `y${id}`, fillcolor: colours["accent-soft"], line: { width: 0 }, layer: "below" });
        if (panel.joined && r.marks.length > 1) traces.push({ type: "scatter", mode: "lines", hoverinfo: "skip", x: [r.marks[0].x, r.marks[r.marks.length - 1].x], y: [i, i], xaxis: `x${id}`, yaxis: `y${id}`, line: { color: colours.soft, width: 1.2 } });
      });
      const line = (x, colour, dash) => layout.shapes.push(upright(x, colour, dash, `y${id} domain`, `x${id}`));
      if (panel.zero) line(0, colours.soft, "solid");
      const [low, top] = reach(panel);
      const own = limit(panel.slider).value;
      for (const [x, dash] of [[own === null ? null : own * scaled(panel.slider), "dash"], [panel.device ?? null, "solid"]]) {
        if (x !== null && x >= low && x <= top) line(x, colours.bad, dash);
      }
      for (const role of roles) {
        const found = panel.rows.flatMap((r, i) => r.marks.filter((m) => m.role === role).map((m) => ({ ...m, r, i })));
        if (!found.length) continue;
        traces.push({
          type: "scatter", mode: "markers", cliponaxis: false, xaxis: `x${id}`, yaxis: `y${id}`, x: found.map((m) => m.x), y: found.map((m) => m.i),
          error_x: found.some((m) => m.low !== undefined) ? {
            type: "data", symmetric: false, array: found.map((m) => (m.high ?? m.x) - m.x), arrayminus: found.map((m) => m.x - (m.low ?? m.x)),
            ...span(colours, role),
          } : undefined,
          marker: look(colours, role, panel, found),
          hovertext: found.map((m) => `<b>${safe(m.r.name)}</b><br>${safe(m.text ?? `${role === "band" ? "predicted " : ""}${digits(m.x)} ${panel.unit}`)}${m.low === undefined || m.low === m.high ? "" : ` (${digits(m.low)} to ${digits(m.high)})`}`),
          hoverinfo: "text",
        });
      }
    });
    Plotly.react(element, traces, frame(element, colours, { ...layout, height: total, margin: { l: left, r: 14, t: 0, b: 0 } }), plain);
  };
})();
