// Package antispamdoor is the front door for homeservers that use the HTTP antispam protocol: those with
// synapse-http-antispam or Draupnir's module.
package antispamdoor
