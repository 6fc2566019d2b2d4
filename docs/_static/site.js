// Names for screen readers that the theme and the gallery leave out, or that differ from the text.
document.addEventListener("DOMContentLoaded", () => {
  const text = (element) => element.textContent.trim().replace(/\s+/g, " ");
  for (const button of document.querySelectorAll(".search-button-field")) button.setAttribute("aria-label", text(button));
  for (const link of document.querySelectorAll(".sphx-glr-thumbcontainer a")) link.setAttribute("aria-label", text(link));
  for (const table of document.querySelectorAll(".pst-scrollable-table-container")) {
    table.classList.toggle("scrolls", table.scrollWidth > table.clientWidth);
  }
  // The button has a label. Its icons are replaced after loading, and their titles would differ from the label.
  const hideIcons = () => {
    for (const icon of document.querySelectorAll(".theme-switch-button svg")) {
      icon.setAttribute("aria-hidden", "true");
      icon.querySelector("title")?.remove();
    }
  };
  new MutationObserver(hideIcons).observe(document.body, { childList: true, subtree: true });
  hideIcons();
  for (const summary of document.querySelectorAll("nav summary")) summary.setAttribute("aria-label", "Subpages");
});
