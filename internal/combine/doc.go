// Package combine makes one decision out of what modules answer.
//
// It is pure: it knows no clock, no network and no logger. A [Walk] says whom to ask, is told what came of it, and says
// when there is a decision; whoever drives it decides how, and what a failure means.
//
// The law: in whatever order outcomes are told, the decision is the one that asking the modules one after the other
// would have come to. It holds because outcomes count only as a prefix of the roster: what module n said is looked at
// when all before it have been.
package combine
