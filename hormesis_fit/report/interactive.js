"use strict";
// Each picture stays for paper, for screen readers and where scripts do not run; the live figure stands in its place.
document.querySelectorAll("figure .live").forEach((box) => {
  const view = JSON.parse(document.getElementById(box.dataset.view).textContent);
  // A finger on the figure scrolls the page; a mouse enlarges a range of doses.
  view.layout.dragmode = window.matchMedia("(pointer: coarse)").matches ? false : "zoom";
  box.hidden = false;
  Plotly.newPlot(box, view.data, view.layout, { displayModeBar: false, responsive: true, showTips: false }).then(
    () => box.closest("figure").classList.add("drawn"),
    () => { box.hidden = true; },
  );
});
// Wide tables scroll by themselves: whoever has no mouse must be able to reach them.
document.querySelectorAll(".scroll").forEach((box) => {
  if (box.scrollWidth <= box.clientWidth) return;
  box.tabIndex = 0;
  box.setAttribute("role", "region");
  box.setAttribute("aria-label", box.querySelector("caption").textContent);
});
