(() => {
  // This file is inserted into the page, so it must not contain a closing script tag.
  const main = document.querySelector("main");
  const dialog = document.querySelector("dialog");
  const large = dialog.querySelector("img");
  const caption = dialog.querySelector("p");
  let shown = null;

  // Without JavaScript or <dialog> support, each picture is a plain link to its file.
  const links = () => [...main.querySelectorAll(".picture")].filter((link) => !link.closest("[hidden]"));

  function show(link) {
    shown = link;
    large.src = link.href;
    large.alt = link.firstElementChild.alt;
    caption.textContent = link.dataset.caption;
    if (!dialog.open) dialog.showModal();
  }

  function step(by) {
    const all = links();
    show(all[(all.indexOf(shown) + by + all.length) % all.length]);
  }

  main.addEventListener("click", (event) => {
    const link = event.target.closest(".picture");
    if (!link || !dialog.showModal || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    show(link);
  });
  document.getElementById("previous").addEventListener("click", () => step(-1));
  document.getElementById("next").addEventListener("click", () => step(1));
  document.getElementById("close").addEventListener("click", () => dialog.close());
  large.addEventListener("click", () => dialog.close());
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });
  dialog.addEventListener("close", () => shown && shown.focus());

  const scale = document.getElementById("scale");
  function applyScale() {
    const chosen = scale.querySelector(":checked").value;
    for (const link of document.querySelectorAll("[data-other]")) {
      link.dataset.own ??= link.getAttribute("href");
      const address = chosen === scale.dataset.drawn ? link.dataset.own : link.dataset.other;
      if (link.getAttribute("href") === address) continue;
      link.href = address;
      link.firstElementChild.src = address;
    }
    for (const meaning of document.querySelectorAll("[data-scale]")) meaning.hidden = meaning.dataset.scale !== chosen;
  }
  if (scale) {
    scale.addEventListener("change", applyScale);
  }

  const filter = document.getElementById("filter");
  function applyFilter() {
    const chosen = new Set([...filter.querySelectorAll(":checked")].map((box) => box.value));
    for (const figure of document.querySelectorAll("[data-method]")) figure.hidden = !chosen.has(figure.dataset.method);
    for (const section of document.querySelectorAll(".targets section")) {
      section.hidden = !section.querySelector("[data-method]:not([hidden])");
    }
  }
  if (filter) {
    filter.addEventListener("change", applyFilter);
  }

  // --- search, order and pages ---------------------------------------------------------------------

  // The first page's cards are elements. The others are text until their page is opened, because a
  // browser needs seconds to lay out thousands of cards.
  const holder = document.getElementById("cards");
  const cards = [...document.querySelectorAll("#cards > article, script.card")].map((source, place) => ({
    place,
    source,
    name: source.dataset.name,
    words: folded(source.dataset.words),
    score: source.dataset.score === undefined ? NaN : Number(source.dataset.score),
    truth: source.dataset.truth,
  }));
  const perPage = Number(holder.dataset.length);
  const search = document.getElementById("search");
  const order = document.getElementById("order");
  const pagers = [...document.querySelectorAll(".pager")];
  const byName = new Intl.Collator(undefined, { numeric: true });
  let page = 0;

  function folded(text) {
    return text.normalize("NFKD").replace(/[\u0300-\u036f]/g, "").replaceAll("_", " ").toLowerCase();
  }

  function article(card) {
    if (card.source.localName === "script") {
      const template = document.createElement("template");
      template.innerHTML = card.source.textContent;
      card.source = template.content.firstElementChild;
    }
    return card.source;
  }

  // NaN comes last in either direction.
  const known = (card) => (Number.isNaN(card.score) ? 1 : 0);
  const high = (a, b) => known(a) - known(b) || b.score - a.score || a.place - b.place;
  const low = (a, b) => known(a) - known(b) || a.score - b.score || a.place - b.place;
  const RANKS = { wrong: 0, right: 1 };
  const ORDERS = {
    given: (a, b) => a.place - b.place,
    name: (a, b) => byName.compare(a.name, b.name) || a.place - b.place,
    high,
    low,
    // Mistakes come first, the most confident on top. Then come right answers, least confident first.
    wrong: (a, b) => (RANKS[a.truth] ?? 2) - (RANKS[b.truth] ?? 2) || (a.truth === "right" ? low : high)(a, b),
  };

  function found() {
    const words = folded(search?.value ?? "").split(/\s+/).filter(Boolean);
    const matching = cards.filter((card) => words.every((word) => card.words.includes(word)));
    return matching.sort(ORDERS[order?.value] ?? ORDERS.given);
  }

  function showPage() {
    const all = found();
    const pages = Math.max(1, Math.ceil(all.length / perPage));
    page = Math.min(page, pages - 1);
    holder.replaceChildren(...all.slice(page * perPage, (page + 1) * perPage).map(article));
    if (scale) applyScale();
    if (filter) applyFilter();
    for (const pager of pagers) showPager(pager, pages);
    const count = document.getElementById("count");
    if (count) count.textContent = counted(all.length);
  }

  function counted(length) {
    if (!length) return `No ${holder.dataset.noun} matches.`;
    const [first, last] = [page * perPage + 1, Math.min((page + 1) * perPage, length)];
    const words = (number) => number.toLocaleString("en");
    const range = length > perPage ? `${words(first)}–${words(last)} of ` : "";
    return `${range}${words(length)}${length < cards.length ? ` found among ${words(cards.length)}` : ""} ${holder.dataset.noun}s`;
  }

  function showPager(pager, pages) {
    const [back, forward] = pager.querySelectorAll("button");
    const choice = pager.querySelector("select");
    pager.hidden = pages < 2;
    back.disabled = page === 0;
    forward.disabled = page === pages - 1;
    if (choice.length !== pages) {
      choice.replaceChildren(...Array.from({ length: pages }, (_, number) => new Option(`${number + 1} of ${pages}`, number)));
    }
    choice.value = page;
  }

  function turnTo(number, pager) {
    page = number;
    showPage();
    // After a click on the lower pager, scroll to the top of the new page.
    if (pager !== pagers[0]) main.focus({ preventScroll: true });
    main.scrollIntoView();
  }

  for (const pager of pagers) {
    const [back, forward] = pager.querySelectorAll("button");
    back.addEventListener("click", () => turnTo(page - 1, pager));
    forward.addEventListener("click", () => turnTo(page + 1, pager));
    pager.querySelector("select").addEventListener("change", (event) => turnTo(Number(event.target.value), pager));
  }
  const restart = () => {
    page = 0;
    showPage();
  };
  search?.addEventListener("input", restart);
  order?.addEventListener("change", restart);
  showPage(); // Browsers keep form values across a reload.
})();
