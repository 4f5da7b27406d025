"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const detail = document.getElementById("detail");
  const buttons = [...document.querySelectorAll(".tokens button")];
  const bars = [...document.querySelectorAll("svg rect")];
  if (!buttons.length) return;
  let kept = 0;

  const element = (name, text, className) => {
    const e = document.createElement(name);
    if (text !== undefined) e.textContent = text;
    if (className) e.className = className;
    return e;
  };

  const show = (i) => {
    const token = data[i];
    const facts = [`token ${i + 1} of ${data.length}`, `log-probability ${token.logprob}`, `sum so far ${token.sum}`];
    if (token.entropy !== null) facts.push(`entropy at least ${token.entropy} bits`);
    const table = element("table");
    for (const [text, percent, p, chosen] of token.top) {
      const row = element("tr", undefined, chosen ? "chosen" : "");
      const head = element("th", text);
      head.scope = "row";
      const bar = element("div");
      bar.style.width = `${100 * p}%`;
      const cell = element("td", undefined, "bar");
      cell.append(bar);
      row.append(head, element("td", percent, "number"), cell);
      table.append(row);
    }
    detail.replaceChildren(element("p", facts.join(" · ")), table);
    buttons.forEach((b, at) => at === i ? b.setAttribute("aria-current", "true") : b.removeAttribute("aria-current"));
    bars.forEach((b, at) => b.classList.toggle("on", at === i));
  };

  const keep = (i, focus) => {
    buttons[kept].tabIndex = -1;
    kept = i;
    buttons[i].tabIndex = 0;
    if (focus) buttons[i].focus();
    show(i);
  };

  buttons.forEach((button, i) => {
    button.removeAttribute("title");
    button.addEventListener("click", () => keep(i, true));
    button.addEventListener("focus", () => { if (kept !== i) keep(i, false); else show(i); });
    button.addEventListener("mouseenter", () => show(i));
    button.addEventListener("mouseleave", () => show(kept));
  });
  bars.forEach((bar, i) => bar.addEventListener("click", () => keep(i, true)));
  document.querySelector(".tokens").addEventListener("keydown", (event) => {
    const last = buttons.length - 1;
    const to = { ArrowRight: kept + 1, ArrowDown: kept + 1, ArrowLeft: kept - 1, ArrowUp: kept - 1, Home: 0, End: last }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    keep(Math.min(Math.max(to, 0), last), true);
  });
  show(0);
})();
