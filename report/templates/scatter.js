"use strict";
// Two measures against each other: a mark for each format, the line of those that none beats, and limits.
const scatter = (() => {
  const { plain, safe, short, digits, standing, isPick, marker, limit, scaled, widthOf, frame, axis, note, upright } = drawing;

  // each label goes where it covers fewest markers and other labels; whoever is crowded in gets a free side first
  const place = (points, toPixel, width, height, first, most, edge) => {
    const boxes = points.map((p) => { const [x, y] = toPixel(p), r = isPick(p.name) ? 11 : 6; return { left: x - r, right: x + r, top: y - r, bottom: y + r }; });
    const rods = points.map((p) => { const [, y] = toPixel(p); return { left: toPixel({ ...p, x: p.x_low })[0], right: toPixel({ ...p, x: p.x_high })[0], top: y - 4, bottom: y + 4 }; });
    for (const [a, b] of edge.slice(1).map((p, n) => [toPixel(edge[n]), toPixel(p)])) {
      const corner = first === "left" ? b : a; // the step goes across and then up, or the reverse
      const level = first === "left" ? a[1] : b[1];
      rods.push({ left: Math.min(a[0], b[0]), right: Math.max(a[0], b[0]), top: level - 2, bottom: level + 2 });
      rods.push({ left: corner[0] - 2, right: corner[0] + 2, top: Math.min(a[1], b[1]), bottom: Math.max(a[1], b[1]) });
    }
    const sides = [
      [`middle ${first}`, first === "left" ? -1 : 1, 0],
      ["top center", 0, -15], ["bottom center", 0, 15], ["middle right", 1, 0], ["middle left", -1, 0],
      ["top right", 1, -13], ["top left", -1, -13], ["bottom right", 1, 13], ["bottom left", -1, 13],
    ];
    const overlap = (a, b) => Math.max(0, Math.min(a.right, b.right) - Math.max(a.left, b.left)) * Math.max(0, Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top));
    const chosen = new Array(points.length);
    const order = points.map((_, i) => i).sort((i, j) => toPixel(points[j])[0] - toPixel(points[i])[0]);
    for (const i of order) {
      const [x, y] = toPixel(points[i]);
      const wide = short(points[i].name, most).length * 6.6 + 4;
      let least = Infinity;
      for (const [side, dx, dy] of sides) {
        const middle = x + dx * (wide / 2 + (dy ? 3 : 8));
        const box = { left: middle - wide / 2, right: middle + wide / 2, top: y + dy - 7, bottom: y + dy + 7 };
        const outside = Math.max(0, -box.left) + Math.max(0, box.right - width) + Math.max(0, -box.top) + Math.max(0, box.bottom - height);
        const cost = outside * 40 + rods.reduce((sum, rod) => sum + overlap(box, rod), 0) + boxes.reduce((sum, other, j) => sum + (j === i ? 0 : overlap(box, other)), 0);
        if (cost < least) { least = cost; chosen[i] = { side, box }; }
      }
      boxes.push(chosen[i].box);
    }
    return chosen.map((c) => c.side);
  };

  const bars = (points, value, low, high, colours, kept = () => true) => ({
    type: "data", symmetric: false, thickness: 1.2, width: 0, color: colours.soft,
    array: points.map((p) => kept(p) ? Math.max(0, p[high] - p[value]) : 0),
    arrayminus: points.map((p) => kept(p) ? Math.max(0, p[value] - p[low]) : 0),
  });

  // 1, 2, 3 and 5 of every decade within a logarithmic range
  const steps = ([low, top]) => {
    const decades = Array.from({ length: Math.ceil(top) - Math.floor(low) + 1 }, (_, n) => 10 ** (Math.floor(low) + n));
    return decades.flatMap((ten) => [1, 2, 3, 5].map((m) => m * ten)).filter((x) => Math.log10(x) >= low && Math.log10(x) <= top);
  };

  return (figure, element, colours) => {
    const { points, front, lowest, ticks, better, slider, line } = figure.data;
    const margin = { l: 62, r: 16, t: 22, b: 46 };
    const width = widthOf(element) - margin.l - margin.r;
    const height = element.clientHeight - margin.t - margin.b;
    const most = width < 400 ? 15 : 22;
    const xs = points.flatMap((p) => [p.x_low, p.x_high]);
    const spread = Math.max(Math.max(...xs) - Math.min(...xs), Math.max(...xs) * 0.1, 1e-9);
    // sizes go by doublings where they are far apart, and leave the small ones no room on a plain axis
    const byRatio = better === "left" && Math.max(...xs) > 2.5 * Math.min(...xs);
    const along = (x) => byRatio ? Math.log10(x) : x;
    const room = byRatio ? along(Math.max(...xs)) - along(Math.min(...xs)) : spread;
    const first = along(Math.min(...xs)) - room * 0.16;
    const across = [byRatio ? first : Math.max(0, first), along(Math.max(...xs)) + room * 0.12];
    const raised = (value) => Math.max(value, lowest);
    const worst = Math.log10(raised(Math.max(...points.map((p) => p.high)))) + 0.22;
    const best = Math.log10(lowest) - 0.18;
    const toPixel = (p) => [
      (along(p.x) - across[0]) / (across[1] - across[0]) * width,
      (Math.log10(raised(p.divergence)) - best) / (worst - best) * height,
    ];
    const joined = front.map((name) => points.find((p) => p.name === name));
    const sides = place(points, toPixel, width, height, better, most, joined);
    // the ring around the pick needs room that plotly's label offset does not leave
    const label = (p, i) => {
      const name = isPick(p.name) ? `<b>${short(p.name, most)}</b>` : short(p.name, most);
      if (!isPick(p.name)) return name;
      return sides[i] === "middle right" ? `\u00a0\u00a0${name}` : sides[i] === "middle left" ? `${name}\u00a0\u00a0` : name;
    };
    const measured = (p) => p.divergence >= lowest;
    const marks = {
      x: points.map((p) => p.x), y: points.map((p) => raised(p.divergence)), mode: "markers+text", type: "scatter", cliponaxis: false,
      text: points.map(label), textposition: sides,
      textfont: { size: 11.5, color: points.map((p) => standing(p.name).out ? colours.soft : colours.ink) },
      error_x: bars(points, "x", "x_low", "x_high", colours), error_y: bars(points, "divergence", "low", "high", colours, measured),
      marker: marker(colours, points, 11),
      hovertext: points.map((p) => `<b>${safe(p.name)}</b> ${safe(standing(p.name).word)}<br>${digits(p.x)} ${safe(figure.data.axis)}<br>${digits(p.divergence)} nats`),
      hoverinfo: "text",
    };
    const picked = points.filter((p) => isPick(p.name));
    const ring = {
      x: picked.map((p) => p.x), y: picked.map((p) => raised(p.divergence)), mode: "markers", hoverinfo: "skip", cliponaxis: false,
      marker: { size: 21, symbol: "circle-open", color: colours.ink, line: { width: 1.8 } },
    };
    const edge = {
      x: joined.map((p) => p.x), y: joined.map((p) => raised(p.divergence)), mode: "lines", hoverinfo: "skip",
      line: { color: colours.soft, width: 1.4, dash: "dot", shape: better === "left" ? "hv" : "vh" },
    };
    const lines = [...figure.data.limits];
    const own = limit(slider);
    if (own.value !== null) lines.push({ value: own.value * scaled(slider), text: line === "memory" ? `memory up to ${own.text}` : `at least ${own.text}` });
    const shown = lines.filter(({ value }) => along(value) >= across[0] && along(value) <= across[1]);
    const far = (value) => along(value) > (across[0] + across[1]) / 2;
    const tickvals = [...(points.every(measured) ? [] : [lowest]), ...ticks];
    Plotly.react(element, [edge, marks, ring], frame(element, colours, {
      margin,
      xaxis: axis(colours, { range: across, title: { text: safe(figure.data.axis), standoff: 10 }, ...(byRatio ? { type: "log", tickvals: steps(across), ticktext: steps(across).map(String) } : { nticks: width < 400 ? 5 : 8 }) }),
      yaxis: axis(colours, { type: "log", range: [worst, best], tickvals, ticktext: tickvals.map((v) => v === lowest ? "\u2248 0" : String(v)), title: { text: "KL divergence, nats (log)", standoff: 2 } }),
      shapes: shown.map(({ value }) => upright(value, colours.bad, "dash")),
      annotations: [
        note(colours, { x: better === "left" ? 0 : 1, y: 1, xref: "paper", yref: "paper", xanchor: better, yanchor: "bottom", yshift: 3, text: better === "left" ? "\u2196 better" : "better \u2197", font: { size: 11.5, color: colours.soft } }),
        ...shown.map(({ value, text }) => note(colours, { x: along(value), y: 0, yref: "paper", yanchor: "bottom", xanchor: far(value) ? "right" : "left", xshift: far(value) ? -4 : 4, text: safe(text), bgcolor: colours.card })),
      ],
    }), plain);
  };
})();
