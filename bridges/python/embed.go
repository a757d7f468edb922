// Package python hands the kit for Python's parts to Go that run by themselves.
package python

import _ "embed"

// Survey is a Python program that needs no package. Its arguments are classes, as in homeserver.yaml; it prints, as JSON,
// what the source of each says, without importing it.
//
//go:embed modulebus/synapse/source.py
var Survey string
