// Package policydoor is how servers of the federation ask whether an event is spam: as they ask a policy server (MSC4284).
package policydoor
