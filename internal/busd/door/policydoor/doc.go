// Package policydoor is the front door for servers of the federation, which ask whether an event is spam as they ask a
// policy server (MSC4284).
package policydoor
