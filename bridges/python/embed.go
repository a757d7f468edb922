// Package python hands the kit for Python's parts to Go that run by themselves.
package python

import _ "embed"

// Survey is a Python program that needs no package. Its first argument are methods of the Module API that are not of Synapse's
// ModuleApi, such as _store.get_users_paginate, with commas between them; the others are classes, as in homeserver.yaml. It
// prints, as JSON, what the source of each class says, without importing it.
//
//go:embed modulebus/synapse/source.py
var Survey string
