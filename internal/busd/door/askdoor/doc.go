// Package askdoor is the front door over HTTP: homeservers ask there, and learn what modules want to be asked.
package askdoor
