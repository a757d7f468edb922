// Package layers holds, as tests, which packages may import which.
package layers
