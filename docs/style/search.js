// The search: guides and tutorials come before pages of the reference. All other numbers are Sphinx's own.
var Scorer = {
  score: ([page, title, anchor, description, score]) =>
    score + (page.startsWith("guides/") ? 6 : page.startsWith("tutorials/") ? 4 : 0),
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
