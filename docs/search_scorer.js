// The order of search results. Without `score`, these are Sphinx' own numbers.
// Sphinx ranks pages with equal scores by their titles, so the changelog would come first.
var Scorer = {
  score: ([page, , , , score]) => score + ({ changes: -10, troubleshooting: 1 }[page] ?? 0),
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
