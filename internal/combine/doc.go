// Package combine makes one decision out of the answers of modules.
//
// It is pure: it knows no clock, no network and no logger. A [Walk] says which module to ask next, is told the
// outcome, and says when there is a decision. Its driver decides how modules are asked, and what a failure means.
//
// The law: in whatever order outcomes are told, the decision is the one that asking the modules one after the other would
// have made. It holds because outcomes count only as a prefix of the roster: the outcome of module n is used only when all
// before it have been.
package combine
