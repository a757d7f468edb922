// Package askdoor is how homeservers ask over HTTP, and hear what modules want to be asked.
package askdoor
