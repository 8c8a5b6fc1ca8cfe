"use strict";
// What all of the page's scripts share: its values, text as it is shown, unpacking, and the notes that open at a mark.
const edgequant = (() => {
  const values = JSON.parse(document.getElementById("values").textContent);
  document.documentElement.classList.add("js");

  // the same characters as in Python: they hide text, turn its direction or move the cursor
  const unseen = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;
  const visible = (text) => text.replace(unseen, "\ufffd");
  const typeset = (text) => visible(text)
    .replace(/(?<!\w)-(?=\d)/g, "\u2212")
    .replace(/(?<=\d) (?=%|[kMG]?B\b|nats\b|points\b|tokens\b|items\b)/g, "\u00a0");

  const element = (name, attributes = {}, ...children) => {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  };

  const unpack = async (base64) => {
    const bytes = Uint8Array.from(atob(base64.trim()), (c) => c.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  };

  // one note at a time, beside what it explains; Escape or a click elsewhere closes it
  const tip = document.getElementById("tip");
  const place = (anchor) => {
    const { left, bottom, top } = anchor.getBoundingClientRect();
    tip.style.left = `${Math.max(12, Math.min(left, document.documentElement.clientWidth - tip.offsetWidth - 12))}px`;
    const below = bottom + 8 + tip.offsetHeight < innerHeight;
    tip.style.top = `${below ? bottom + 8 : Math.max(8, top - 8 - tip.offsetHeight)}px`;
  };
  let explained = null;
  const explain = (anchor, paragraphs) => {
    explained = anchor;
    tip.replaceChildren(...paragraphs.map((text) => element("p", {}, text)));
    tip.showPopover();
    place(anchor);
  };
  const canExplain = typeof tip.showPopover === "function";
  addEventListener("scroll", () => explained && canExplain && tip.matches(":popover-open") && place(explained), { passive: true, capture: true });

  const notes = (mark) => mark.getAttribute("aria-describedby").trim().split(" ").map((id) => {
    const what = document.querySelector(`#${id} .what`);
    return `${what.dataset.code}: ${what.textContent}`;
  });
  document.addEventListener("click", (event) => {
    const mark = event.target.closest("a.mark, button.badge");
    if (!mark || !canExplain) return;
    event.preventDefault();
    explain(mark, mark.matches("a") ? notes(mark) : [...mark.parentElement.querySelectorAll(".because p")].map((e) => e.textContent));
  });

  return { values, visible, typeset, element, unpack };
})();
