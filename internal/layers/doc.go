// Package layers tests the structure of the source: which packages may import which, and where callbacks are named and subjects
// built. It also tests what else holds for the whole tree, such as the licences of dependencies, and that the linters run.
package layers
