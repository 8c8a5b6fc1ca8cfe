"use strict";
// What every picture is drawn with: colours of the scheme, text that is safe, axes, and how each format stands.
const drawing = (() => {
  const root = document.documentElement;
  const symbols = { gguf: "circle", onnx: "diamond", source: "square" };
  const plain = { displayModeBar: false, responsive: false, scrollZoom: false, doubleClick: false };
  const number = new Map(edgequant.values.choices.formats.map((name, n) => [name, n]));
  const clear = "rgba(0,0,0,0)";

  const palette = () => {
    const style = getComputedStyle(root);
    const of = (name) => style.getPropertyValue(`--${name}`).trim();
    const kinds = { gguf: of("accent"), onnx: of("second"), source: of("third") };
    const names = ["ink", "soft", "grid", "card", "line", "band", "bad", "accent-soft"];
    return { ...Object.fromEntries(names.map((name) => [name, of(name)])), kinds };
  };

  // format names are data: plotly reads some tags in text, so the brackets that would open one become entities
  const safe = (text) => edgequant.visible(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const short = (text, most = 22) => safe(text.length > most ? `${text.slice(0, most - 2)}\u2026` : text);
  const digits = (value) => Number(value.toPrecision(3)).toLocaleString("en", { maximumFractionDigits: 6 });

  const standing = (name) => edgequant.state.standing[number.get(name)] ?? { word: "", out: false };
  const isPick = (name) => standing(name).word === "pick";
  // what is out is hollow: the card's colour within a line of its own
  const marker = (colours, points, size) => {
    const own = points.map((p) => colours.kinds[p.kind]);
    const out = points.map((p) => p.hollow ?? standing(p.name).out);
    return {
      size, symbol: points.map((p) => symbols[p.kind]), color: own.map((c, i) => out[i] ? colours.card : c),
      line: { width: out.map((o) => o ? 1.8 : 1), color: own.map((c, i) => out[i] ? c : colours.card) },
    };
  };
  const limit = (slider) => slider ? edgequant.state.limits[slider] : { value: null };
  const scaled = (slider) => slider === "max_memory_bytes" ? 1e-6 : 1;

  // on paper two pictures stand side by side on landscape A4; the screen's widths say nothing about that
  const widthOf = (element) => root.classList.contains("printing") ? (element.closest(".wide") ? 985 : 470) : element.clientWidth;

  const frame = (element, colours, extra) => ({
    width: widthOf(element), height: element.clientHeight,
    paper_bgcolor: clear, plot_bgcolor: clear, showlegend: false, dragmode: false, hovermode: "closest",
    font: { family: "system-ui, -apple-system, Segoe UI, Roboto, Noto Sans, sans-serif", size: 12, color: colours.soft },
    hoverlabel: { bgcolor: colours.card, bordercolor: colours.line, font: { color: colours.ink }, align: "left" },
    ...extra,
  });
  const axis = (colours, extra) => ({
    gridcolor: colours.grid, linecolor: colours.line, zeroline: false, fixedrange: true, ticks: "", automargin: false, ...extra,
  });
  const note = (colours, extra) => ({ showarrow: false, font: { size: 11, color: colours.bad }, ...extra });
  const upright = (x, colour, dash, yref = "paper", xref = "x") => ({
    type: "line", x0: x, x1: x, y0: 0, y1: 1, xref, yref, line: { color: colour, width: 1.5, dash }, layer: "below",
  });

  return { root, symbols, plain, clear, palette, safe, short, digits, standing, isPick, marker, limit, scaled, widthOf, frame, axis, note, upright };
})();
