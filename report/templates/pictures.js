"use strict";
// When pictures are drawn: once the page can be read, and again where the scheme, the width, the paper or the pick changes.
(() => {
  const { root, palette } = drawing;
  const { figures } = edgequant.values;
  if (!figures.length) return;

  let drawn = 0;
  const kinds = { scatter, lines, panels };
  const draw = () => {
    if (typeof Plotly === "undefined") return;
    const colours = palette();
    for (const figure of figures) kinds[figure.kind](figure, document.getElementById(`plot-${figure.key}`), colours);
    root.dataset.drawn = String(++drawn);
  };
  const print = (on) => { root.classList.toggle("printing", on); draw(); };

  // the library is large: it is unpacked and run only once the page can be read; its hash stands in the content policy
  const load = async () => {
    const script = document.createElement("script");
    script.textContent = await edgequant.unpack(document.getElementById("plotly").textContent);
    performance.mark("library");
    document.head.append(script);
    draw();
  };
  const idle = window.requestIdleCallback ?? ((run) => setTimeout(run, 50));
  addEventListener("load", () => setTimeout(() => idle(load, { timeout: 1500 }), 60));

  let waiting = 0;
  document.addEventListener("pick", () => { cancelAnimationFrame(waiting); waiting = requestAnimationFrame(draw); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  addEventListener("beforeprint", () => print(true));
  addEventListener("afterprint", () => print(false));
  const box = document.querySelector(".figures");
  let width = box.clientWidth;
  new ResizeObserver(() => { if (box.clientWidth !== width) { width = box.clientWidth; draw(); } }).observe(box);
})();
