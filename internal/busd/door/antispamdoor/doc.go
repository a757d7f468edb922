// Package antispamdoor is how homeservers ask that speak the HTTP antispam protocol: those with synapse-http-antispam or Draupnir's module.
package antispamdoor
