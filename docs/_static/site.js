// Names for screen readers that the theme and the gallery leave out, or that differ from the text.
document.addEventListener("DOMContentLoaded", () => {
  const text = (element) => element.textContent.trim().replace(/\s+/g, " ");
  for (const button of document.querySelectorAll(".search-button-field")) button.setAttribute("aria-label", text(button));
  for (const link of document.querySelectorAll(".sphx-glr-thumbcontainer a")) link.setAttribute("aria-label", text(link));
  for (const table of document.querySelectorAll(".pst-scrollable-table-container")) {
    table.classList.toggle("scrolls", table.scrollWidth > table.clientWidth);
  }
  for (const summary of document.querySelectorAll("nav summary")) summary.setAttribute("aria-label", "Subpages");
});
