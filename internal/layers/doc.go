// Package layers holds, as tests, what the parts of the house may know of each other.
package layers
